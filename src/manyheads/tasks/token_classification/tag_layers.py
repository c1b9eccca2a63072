"""Tag sequences of an entity head: one over all labels, or as many as it takes to hold overlapping labels apart.

Decided here:
- A layer is a block of columns among the head's outputs, `O`, then `B-` and `I-` of its labels.
- A label that overlaps another somewhere in the training data has a layer of its own, as in EDS-NLP; all others share one.
  So on data without overlaps the head is the flat one: a layer for each label scored 0.4 points less there. Where labels
  overlap, as few layers as hold them apart scored 0.6 less. Alex, Haddow & Grover 2007 compare with other ways.
- Of overlapping spans of one label the longest is learned, as one sequence of tags can hold no other. Each piece of a
  discontinuous span is learned as a span.
- Entities of two labels that never overlap in the training data do not overlap in answers either: the one with the higher
  score stays.
- Layers share the encoder and are independent given its states, so their log-likelihoods are added.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Literal

from manyheads.text.spans import edges_of, longest_apart

if TYPE_CHECKING:
    from manyheads.text.entities import EntityExample
    from manyheads.text.spans import CharSpan

Overlap = Literal["none", "per-label"]


@dataclass(frozen=True, slots=True)
class TagLayer:
    """One sequence of tags."""

    labels: tuple[str, ...]
    first: int
    """Its first column among the outputs of the head."""

    @property
    def tags(self) -> tuple[str, ...]:
        """`O`, and `B-` and `I-` of each label, in the order of the columns."""
        return ("O", *(prefix + label for label in self.labels for prefix in ("B-", "I-")))

    @property
    def columns(self) -> slice:
        """Its columns among the outputs of the head."""
        return slice(self.first, self.first + 1 + 2 * len(self.labels))

    def rules(self, rules: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        """Its part of the transition, start and end scores of a CRF over all layers."""
        transitions_KK, start_K, end_K = rules
        return transitions_KK[self.columns, self.columns], start_K[self.columns], end_K[self.columns]

    def spans(self, example: EntityExample) -> list[CharSpan]:
        """The gold spans that its tags can hold, in reading order."""
        pieces = ((start, end, span.label) for span in example.discontinuous for start, end in span.pieces)
        mine = [span for span in (*example.spans, *pieces) if span[2] in self.labels]
        return longest_apart(mine, edges_of)


def tag_layers(sequences: Sequence[Sequence[str]]) -> tuple[TagLayer, ...]:
    """The layers of a head with these labels in each.

    >>> [layer.tags for layer in tag_layers([["A"], ["B"]])]
    [('O', 'B-A', 'I-A'), ('O', 'B-B', 'I-B')]
    """
    widths = [1 + 2 * len(labels) for labels in sequences]
    first = [0, *accumulate(widths)]
    return tuple(TagLayer(tuple(labels), place) for labels, place in zip(sequences, first, strict=False))


def label_sequences(
    labels: Sequence[str], may_overlap: Collection[tuple[str, str]], before: Sequence[Sequence[str]] = ()
) -> tuple[tuple[str, ...], ...]:
    """A sequence for each label that overlaps another, one for all others. Labels stay where they were `before` if they can.

    >>> label_sequences(["Cell", "DNA", "Gene", "RNA"], [("DNA", "Gene")])
    (('Cell', 'RNA'), ('DNA',), ('Gene',))
    """
    overlapping = set(chain.from_iterable(may_overlap))
    kept = [[label for label in old if label in labels] for old in before]
    made = [[label for label in old if label not in overlapping] or old[:1] for old in kept]
    for label in labels:
        if any(label in sequence for sequence in made):
            continue
        shared = [sequence for sequence in made if overlapping.isdisjoint(sequence)] if label not in overlapping else []
        if shared:
            shared[0].append(label)
        else:
            made.append([label])
    return tuple(map(tuple, made))


def overlapping_labels(spans: Sequence[CharSpan]) -> set[tuple[str, str]]:
    """The pairs of labels, in alphabetical order, of spans in reading order that overlap."""
    found: set[tuple[str, str]] = set()
    for place, one in enumerate(spans):
        for other in spans[place + 1 :]:
            if other[0] >= one[1]:
                break
            found.add((min(one[2], other[2]), max(one[2], other[2])))
    return found


def apart(spans: Sequence[dict[str, Any]], may_overlap: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
    """Spans without those that overlap one with a higher score, if their labels may not overlap."""
    kept: list[dict[str, Any]] = []
    for span in sorted(spans, key=lambda span: -span["score"]):
        if all(
            other["end"] <= span["start"] or span["end"] <= other["start"]
            or tuple(sorted((span["label"], other["label"]))) in may_overlap
            for other in kept
        ):  # fmt: skip
            kept.append(span)
    return kept


def output_names(layers: Sequence[TagLayer]) -> tuple[str, ...]:
    """A name for each output: its tag, and for the `O` of the second layer `O-2`."""
    return tuple(name for n, layer in enumerate(layers, 1) for name in ("O" if n == 1 else f"O-{n}", *layer.tags[1:]))
