"""Entity types in words: known labels have tags of an ordinary head, others are compared with entities (`by_name: true`).

    logit of a label = scale * cosine(mean vector of an entity's words - centre, description); that of no label is learned

Decided here:
- Labels of the training data have tags of their own, as in `TokenClassification`, and are answered by these. So nothing is
  lost for them, and teachers, `review`, exports and tasks about these entities work as with any head.
- Labels that are given with the texts have two steps: entities are found whatever their type, then each gets a label. Tags
  scored by descriptions, in one step, found next to nothing of types that were never trained (docs/decisions.md).
- Vectors of the known labels are part of the model folder; those of others are computed when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Gt, Le

from manyheads.errors import UsageError
from manyheads.tasks.base import DataStatistics, EncoderInput, Level
from manyheads.tasks.by_name import NamedLabels
from manyheads.tasks.settings import DERIVED, HELD, Doc
from manyheads.tasks.token_classification import by_name_decoding as decoding
from manyheads.tasks.token_classification import by_name_training as training
from manyheads.tasks.token_classification.by_name_training import SCALE
from manyheads.tasks.token_classification.choices import TagChoices
from manyheads.tasks.token_classification.task import TokenClassification
from manyheads.text.entities import EntityExample

if TYPE_CHECKING:
    from torch import nn

    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.stock import StockClass


@dataclass(frozen=True, kw_only=True)
class EntitiesByName(NamedLabels[EntityExample], TokenClassification):
    """Entity recognition with labels in words; other labels can be given with the texts."""

    chosen_by: ClassVar[Mapping[str, Any]] = {"by_name": True}
    vector_output: ClassVar[str] = "name_SD"

    by_name: Annotated[Literal[True], Doc("also compare words with the labels in words")] = field()
    described: Annotated[
        float, Gt(0), Le(1), Doc("share of the training texts with which the description of a label is encoded")
    ] = 0.25
    overlap: Annotated[Literal["none"], DERIVED] = "none"
    """Not a key: one sequence of tags holds all labels that are asked for."""
    trained: Annotated[TokenClassification | None, HELD] = field(default=None, repr=False, compare=False)
    """The task with the head's own labels, where others are asked for."""

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Those of the tags, and of `NamedEntitiesHead`."""
        return {**super().outputs, "edge_T2": "token", "vector_TX": "token", "name_SD": "sequence", "scale_1": "constant",
                "none_1": "constant", "centre_X": "constant"}  # fmt: skip

    @property
    def plain(self) -> TokenClassification:
        """The task of its tags alone."""
        return TokenClassification(**{one.name: getattr(self, one.name) for one in fields(TokenClassification)
                                      if one.name != "by_name"})  # fmt: skip

    @property
    def finder(self) -> TokenClassification:
        """A task that finds entities of any type."""
        return TokenClassification(name=self.name, labels=("entity",), unit=self.unit)

    @property
    def distillation(self) -> Distillation[EntityExample]:
        """By probabilities of the tags."""
        return self.plain.distillation

    @property
    def choices(self) -> TagChoices:
        """The tag of each word."""
        return _Tags(self)

    # -- data ---------------------------------------------------------------------------------------------------
    def fit(self, statistics: DataStatistics) -> EntitiesByName:
        """Labels of the training data, unless listed, and their descriptions."""
        fitted = super().fit(statistics)
        assert isinstance(fitted, EntitiesByName), "the same task"
        return fitted.with_texts()

    def with_labels(self, labels: Sequence[str]) -> EntitiesByName:
        """With the descriptions of labels that stay."""
        if tuple(labels) == self.labels:
            return self
        return replace(self, labels=tuple(labels), label_texts=()).described_as_before(self)

    def choosing_among(self, labels: Mapping[str, str | None]) -> EntitiesByName:
        """Known labels keep their tags. Raises UsageError."""
        if not labels:
            raise UsageError("no label is given; give at least one")
        if set(labels) == set(self.labels):
            return self
        return replace(self, labels=tuple(labels), label_texts=self.texts_of(labels), vector_KD=None, descriptions={},
                       trained=self.plain)  # fmt: skip

    # -- encoding, training, answering ------------------------------------------------------------------------------
    def sources_of_example(self, example: EntityExample) -> Sequence[EncoderInput]:
        """The text, and for some texts the description of a label."""
        return [*self.scored_inputs(example), *map(self.description, training.label_to_read(self, example))]

    def scored_inputs(self, example: EntityExample) -> Sequence[EncoderInput]:
        """The text."""
        return super().sources_of_example(example)

    def build_head(self, width: int) -> nn.Module:
        """The head of the tags, and vectors, which begin as the states of the encoder."""
        from manyheads.nn.heads import NamedEntitiesHead

        return NamedEntitiesHead(super().build_head(width), width, dropout=self.dropout, scale=SCALE)

    targets = training.targets
    loss = training.loss

    decode = decoding.decode

    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """That of the tags, which alone are exported."""
        return self.plain.stock_class(head.solved.tags, family, width)  # type: ignore[union-attr, arg-type]


class _Tags(TagChoices):
    """The tags, which can be refitted without the descriptions."""

    task: EntitiesByName

    def refitted_as(self) -> TokenClassification:
        """The task of the tags alone."""
        return replace(self.task.plain, decoder="softmax")
