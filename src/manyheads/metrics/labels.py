"""Metrics of labels, exactly one per text or any number of them.

Decided here, as in scikit-learn: the macro mean is over the labels that occur in gold or predictions; the weighted mean
weights a label by its gold count; a division by zero gives 0. For multi-label data, `accuracy` is the share of texts whose
whole set is right. A text without a prediction (None) is wrong and counts towards no predicted label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of correct, gold and predicted items, with precision, recall and F1.

    >>> Counts(correct=1, gold=2, predicted=2).f1
    0.5
    """

    correct: int
    gold: int
    predicted: int

    @property
    def precision(self) -> float:
        """Correct over predicted."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Correct over gold."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.correct / (self.gold + self.predicted) if self.gold + self.predicted else 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.correct + other.correct, self.gold + other.gold, self.predicted + other.predicted)


NOTHING = Counts(0, 0, 0)


def single_label_scores(gold: Sequence[str], predicted: Sequence[str | None]) -> dict[str, float]:
    """`accuracy`, `macro_f1`, `micro_f1`, `weighted_f1` for one label per text.

    Raises ValueError for different lengths.

    >>> single_label_scores(["a", "b"], ["a", "a"])["accuracy"]
    0.5
    """
    return multi_label_scores([(label,) for label in gold], [_alone(label) for label in predicted])


def multi_label_scores(gold: Sequence[Collection[str]], predicted: Sequence[Collection[str]]) -> dict[str, float]:
    """The same metrics for any number of labels per text; `accuracy` is over whole sets.

    Raises ValueError for different lengths.

    >>> multi_label_scores([["a", "b"], []], [["a"], []])["accuracy"]
    0.5
    """
    counts = label_counts(gold, predicted)
    exact = sum(set(one) == set(other) for one, other in zip(gold, predicted, strict=True))
    total = sum(counts.values(), NOTHING)
    return {
        "accuracy": exact / len(gold) if gold else 0.0,
        "macro_f1": sum(c.f1 for c in counts.values()) / len(counts) if counts else 0.0,
        "micro_f1": total.f1,
        "weighted_f1": sum(c.f1 * c.gold for c in counts.values()) / total.gold if total.gold else 0.0,
    }


def label_counts(gold: Sequence[Collection[str]], predicted: Sequence[Collection[str]]) -> dict[str, Counts]:
    """Counts of each label that occurs, sorted by name. Raises ValueError for different lengths.

    >>> label_counts([["a"]], [["a"]])
    {'a': Counts(correct=1, gold=1, predicted=1)}
    """
    _check_lengths(gold, predicted)
    golds = Counter(label for labels in gold for label in set(labels))
    guesses = Counter(label for labels in predicted for label in set(labels))
    right = Counter(label for one, other in zip(gold, predicted, strict=True) for label in set(one) & set(other))
    return {label: Counts(right[label], golds[label], guesses[label]) for label in sorted(golds | guesses)}


def confusion_matrix(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str] | None = None
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Labels, and numbers of texts by gold label (rows) and predicted label (columns).

    By default `labels` are those that occur, sorted; texts with a label outside a given list are ignored, as in
    scikit-learn. Raises ValueError for different lengths.

    >>> confusion_matrix(["a", "b"], ["a", "a"])
    (('a', 'b'), array([[1, 0],
           [1, 0]]))
    """
    _check_lengths(gold, predicted)
    names = tuple(sorted({*gold, *predicted}) if labels is None else labels)
    place: Mapping[str, int] = {label: k for k, label in enumerate(names)}
    matrix_KK = np.zeros((len(names), len(names)), np.int64)
    for one, other in zip(gold, predicted, strict=True):
        if one in place and other in place:
            matrix_KK[place[one], place[other]] += 1
    return names, matrix_KK


def _alone(label: str | None) -> tuple[str, ...]:
    return () if label is None else (label,)


def _check_lengths(gold: Sequence[object], predicted: Sequence[object]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold texts but {len(predicted)} predictions; give one prediction for each")
