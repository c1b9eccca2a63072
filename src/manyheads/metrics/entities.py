"""Metrics of labelled spans.

Decided here: a span is right if its start, end and label are. The spans of a sentence form a set. Spans are read from tags
elsewhere, by the rules of conlleval (`text/spans.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from manyheads.metrics.labels import NOTHING, Counts

Span = tuple[int, int, str]
"""Start, end (exclusive) and label, in words or characters."""


@dataclass(frozen=True, slots=True)
class EntityScores:
    """Counts in total and by label."""

    total: Counts
    labels: Mapping[str, Counts]
    """Sorted by name."""

    def to_metrics(self) -> dict[str, float]:
        """Micro averages: `f1`, `precision`, `recall`."""
        return {"f1": self.total.f1, "precision": self.total.precision, "recall": self.total.recall}


def entity_scores(gold: Sequence[Collection[Span]], predicted: Sequence[Collection[Span]]) -> EntityScores:
    """Counts of spans, given as one collection per sentence or text. Raises ValueError for different lengths.

    >>> entity_scores([[(0, 2, "ORG"), (5, 9, "PER")]], [[(0, 2, "ORG")]]).to_metrics()
    {'f1': 0.6666666666666666, 'precision': 1.0, 'recall': 0.5}
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold sentences but {len(predicted)} predicted ones; give one for each")
    golds = Counter(label for spans in gold for _, _, label in set(spans))
    guesses = Counter(label for spans in predicted for _, _, label in set(spans))
    pairs = zip(gold, predicted, strict=True)
    right = Counter(label for spans, found in pairs for _, _, label in set(spans) & set(found))
    labels = {label: Counts(right[label], golds[label], guesses[label]) for label in sorted(golds | guesses)}
    return EntityScores(sum(labels.values(), NOTHING), labels)


def token_accuracy(gold_tags: Sequence[Sequence[str]], predicted_tags: Sequence[Sequence[str]]) -> float:
    """Share of tokens with the same tag. Raises ValueError for different lengths.

    >>> token_accuracy([["B-ORG", "O"]], [["B-ORG", "B-PER"]])
    0.5
    """
    right = total = 0
    for number, (gold, predicted) in enumerate(zip(gold_tags, predicted_tags, strict=True)):
        if len(gold) != len(predicted):
            raise ValueError(f"sentence {number} has {len(gold)} gold tags but {len(predicted)} predicted ones")
        right += sum(one == other for one, other in zip(gold, predicted, strict=True))
        total += len(gold)
    return right / total if total else 0.0
