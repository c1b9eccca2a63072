"""Scores of labelled spans, and the spans of a column of tags.

Decided here:
- A span is right when its start, end and label are. Spans of one sentence form a set.
- Where a chunk of tags begins and ends is decided by the rules of conlleval (Tjong Kim Sang, CoNLL-2000), which never
  refuse a sequence: an `I-` after `O` or after another label begins a chunk. One set of rules reads IOB1, IOB2 and
  IOBES. Where conlleval says nothing (`S-`, and a `B-` after an `E-` of its label) a chunk begins, as in seqeval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise

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


@lru_cache(maxsize=4096)  # a column has few different tags
def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and label: `("B", "PER")`; `("O", "")`. A bare `B` or `I` has an empty label.

    Raises ValueError for any other tag.
    """
    prefix, _, label = tag.partition("-")
    if prefix not in ("B", "I", "E", "S") and tag != "O":
        raise ValueError(f"tag {tag!r} is neither 'O' nor one of 'B-', 'I-', 'E-', 'S-' with a label")
    return prefix, label


def chunks(tags: Sequence[str]) -> list[Span]:
    """Spans of one sentence's tags in words, by the rules of conlleval. Raises ValueError for a tag that is none."""
    spans: list[Span] = []
    start = 0
    before, label = "O", ""
    for place, tag in enumerate(chain(tags, ["O"])):
        prefix, kind = split_tag(tag)
        if not _goes_on(before, prefix, label == kind):
            if before != "O":
                spans.append((start, place, label))
            start = place
        before, label = prefix, kind
    return spans


def _goes_on(before: str, prefix: str, same_label: bool) -> bool:
    """Whether a tag continues the chunk of the tag before it."""
    return "O" not in (before, prefix) and same_label and before in ("B", "I") and prefix in ("I", "E")


def scheme(sentences: Iterable[Sequence[str]]) -> str:
    """`IOBES`, `IOB1` or `IOB2`, whichever explains the tags; `IOB2` when several do.

    IOB1 writes `B-` only between neighbours of one label. Raises ValueError for a tag that is none.
    """
    inner_start = outer_b = False
    for tags in sentences:
        for (before, label), (prefix, kind) in pairwise(map(split_tag, chain(["O"], tags))):
            if prefix in ("E", "S"):
                return "IOBES"
            opens = before == "O" or label != kind
            inner_start |= prefix == "I" and opens
            outer_b |= prefix == "B" and opens
    return "IOB1" if inner_start and not outer_b else "IOB2"


def iob2_tags(spans: Iterable[Span], length: int) -> list[str]:
    """IOB2 tags of `length` words that hold these spans of words; of spans that overlap, the first stands."""
    tags = ["O"] * length
    for start, end, label in sorted(spans):
        if all(tag == "O" for tag in tags[start:end]):
            tags[start:end] = [f"{'I' if place > start else 'B'}-{label}" for place in range(start, end)]
    return tags
