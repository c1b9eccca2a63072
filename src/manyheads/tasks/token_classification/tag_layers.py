"""Tag sequences of an entity head: one over all labels, or one for each label, whose spans may then overlap.

Decided here:
- A layer is a block of columns among the head's outputs, `O`, then `B-` and `I-` of its labels. All layers are equally wide.
- With a layer for each label, spans of different labels may overlap or nest in any way. Of overlapping spans of one label the
  longest is learned, as one sequence of tags can hold no other. Each piece of a discontinuous span is learned as a span.
- Entities of two labels that never overlap in the training data do not overlap in answers either: the one with the higher
  score stays. On flat data, a head for each label would else give one span two labels.
- Layers share the encoder and are independent given its states, so their log-likelihoods are added.

A sequence for each label: EDS-NLP does the same; Alex, Haddow & Grover 2007 compare it with cascades and joined labels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
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
        transitions_KC, start_K, end_K = rules
        return transitions_KC[self.columns], start_K[self.columns], end_K[self.columns]

    def spans(self, example: EntityExample) -> list[CharSpan]:
        """The gold spans that its tags can hold, in reading order."""
        pieces = ((start, end, span.label) for span in example.discontinuous for start, end in span.pieces)
        mine = [span for span in (*example.spans, *pieces) if span[2] in self.labels]
        return longest_apart(mine, edges_of)


def tag_layers(labels: Sequence[str], overlap: Overlap) -> tuple[TagLayer, ...]:
    """The layers of a head with these labels.

    >>> [layer.tags for layer in tag_layers(["A", "B"], "per-label")]
    [('O', 'B-A', 'I-A'), ('O', 'B-B', 'I-B')]
    """
    if overlap == "none":
        return (TagLayer(tuple(labels), 0),)
    return tuple(TagLayer((label,), 3 * place) for place, label in enumerate(labels))


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
    """A name for each output: its tag, and for the `O` of one label among several `O-LABEL`."""
    if len(layers) == 1:
        return layers[0].tags
    return tuple(name for layer in layers for name in (f"O-{layer.labels[0]}", *layer.tags[1:]))
