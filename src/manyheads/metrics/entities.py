"""Scores of labelled spans.

Decided here:
- A span is right when its start, end and label are. Spans of one sentence form a set.
- Spans are given, not read from tags: how tags make spans is said once, in `text/spans.py`, by the rules of conlleval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from manyheads.metrics.labels import NOTHING, Counts

Span = tuple[int, int, str]
"""Start, end (exclusive) and label; in words or characters, as the caller counts."""


@dataclass(frozen=True, slots=True)
class EntityScores:
    """Counts over all labels and of each."""

    total: Counts
    labels: Mapping[str, Counts]
    """By sorted name."""

    @property
    def precision(self) -> float:
        """Micro average."""
        return self.total.precision

    @property
    def recall(self) -> float:
        """Micro average."""
        return self.total.recall

    @property
    def f1(self) -> float:
        """Micro average."""
        return self.total.f1

    def to_metrics(self, *, each_label: bool = False) -> dict[str, float]:
        """`f1`, `precision`, `recall`; with `each_label` also `f1_LABEL`."""
        metrics = {"f1": self.f1, "precision": self.precision, "recall": self.recall}
        return metrics | ({f"f1_{label}": counts.f1 for label, counts in self.labels.items()} if each_label else {})


def entity_scores(gold: Sequence[Collection[Span]], predicted: Sequence[Collection[Span]]) -> EntityScores:
    """Micro precision, recall and F1 of spans, one collection for each sentence or text.

    Raises ValueError when the lengths differ.
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
    """Share of tokens whose tags are equal as strings. Raises ValueError when lengths differ."""
    right = total = 0
    for number, (gold, predicted) in enumerate(zip(gold_tags, predicted_tags, strict=True)):
        if len(gold) != len(predicted):
            raise ValueError(f"sentence {number} has {len(gold)} gold tags but {len(predicted)} predicted ones")
        right += sum(one == other for one, other in zip(gold, predicted, strict=True))
        total += len(gold)
    return right / total if total else 0.0
