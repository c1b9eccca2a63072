"""Tag sequences of an entity head: one over all labels, or one for each label, whose spans may then overlap.

Decided here:
- A layer is a block of columns among the head's outputs, `O`, then `B-` and `I-` of its labels. All layers are equally wide.
- With a layer for each label, spans of different labels may overlap or nest in any way. Of overlapping spans of one label the
  longest is learned, as one sequence of tags can hold no other. Each piece of a discontinuous span is learned as a span.
- Layers share the encoder and are independent given its states, so their log-likelihoods are added.

A sequence for each label: EDS-NLP does the same; Alex, Haddow & Grover 2007 compare it with cascades and joined labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from manyheads.text.spans import longest_apart

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
        return longest_apart(mine)


def tag_layers(labels: Sequence[str], overlap: Overlap) -> tuple[TagLayer, ...]:
    """The layers of a head with these labels.

    >>> [layer.tags for layer in tag_layers(["A", "B"], "per-label")]
    [('O', 'B-A', 'I-A'), ('O', 'B-B', 'I-B')]
    """
    if overlap == "none":
        return (TagLayer(tuple(labels), 0),)
    return tuple(TagLayer((label,), 3 * place) for place, label in enumerate(labels))


def output_names(layers: Sequence[TagLayer]) -> tuple[str, ...]:
    """A name for each output: its tag, and for the `O` of one label among several `O-LABEL`."""
    if len(layers) == 1:
        return layers[0].tags
    return tuple(name for layer in layers for name in (f"O-{layer.labels[0]}", *layer.tags[1:]))
