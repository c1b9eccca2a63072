"""Entity types in words: an ordinary head for known labels, and words compared with descriptions of others (`by_name: true`).

    score of a tag of a label = scale * cosine(word, description) + score of the edge, which is that of any label

Decided here:
- Labels of the training data have tags of their own, as in `TokenClassification`, and are answered by these. So nothing is
  lost for them, and teachers, `review`, exports and tasks about these entities work as with any head.
- Descriptions are learned beside the tags, from steps that ask for some of the labels by their descriptions alone
  (`by_name_training.py`), and serve labels that are given with the texts (`by_name_decoding.py`).
- Vectors of the known labels are part of the model folder; those of others are computed when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Gt, Le

from manyheads.errors import UsageError
from manyheads.tasks.base import Array, DataStatistics, EncoderInput, Item, Level, Output, Task
from manyheads.tasks.by_name import NamedLabels
from manyheads.tasks.settings import DERIVED, HELD, Doc
from manyheads.tasks.token_classification import by_name_training as training
from manyheads.tasks.token_classification import decoding
from manyheads.tasks.token_classification.by_name_decoding import as_tags
from manyheads.tasks.token_classification.choices import TagChoices
from manyheads.tasks.token_classification.task import TokenClassification
from manyheads.text.entities import EntityExample

if TYPE_CHECKING:
    from torch import nn

    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.stock import StockClass

SCALE = 20.0
"""On cosines at first, as for sentence embeddings."""
BIAS = -6.0
"""Of both edges at first: a cosine of 0.3, that of unrelated texts, is as likely as no entity."""


@dataclass(frozen=True, kw_only=True)
class EntitiesByName(NamedLabels[EntityExample], TokenClassification):
    """Entity recognition with labels in words; other labels can be given with the texts."""

    chosen_by: ClassVar[Mapping[str, Any]] = {"by_name": True}
    vector_output: ClassVar[str] = "name_SD"

    by_name: Annotated[Literal[True], Doc("also compare words with the labels in words")] = field()
    described: Annotated[
        float, Gt(0), Le(1), Doc("share of the training texts with which the description of one label is encoded")
    ] = 0.25
    overlap: Annotated[Literal["none"], DERIVED] = "none"
    """Not a key: one sequence of tags holds all labels that are asked for."""
    trained: Annotated[TokenClassification | None, HELD] = field(default=None, repr=False, compare=False)
    """The task with the head's own labels, where others are asked for."""

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Those of the tags; a vector and scores of edges of each token; of a description its vector; a factor on cosines."""
        tags = super().outputs if self.trained is None else self.trained.outputs
        return {**tags, "vector_TX": "token", "edge_T2": "token", "name_SD": "sequence", "scale_1": "constant"}

    @property
    def plain(self) -> TokenClassification:
        """The task of its tags alone."""
        return TokenClassification(**{one.name: getattr(self, one.name) for one in fields(TokenClassification)
                                      if one.name != "by_name"})  # fmt: skip

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

    def fit_from(self, before: Task[EntityExample], statistics: DataStatistics) -> EntitiesByName:
        """With the labels that the task had, and their descriptions where the run gives no other."""
        fitted = TokenClassification.fit_from(self.with_descriptions_of(before), before, statistics)
        assert isinstance(fitted, EntitiesByName), "the same task"
        return fitted

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
                       trained=self.plain, decoder="softmax", places=0)  # fmt: skip

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

        return NamedEntitiesHead(super().build_head(width), width, dropout=self.dropout, scale=SCALE, bias=BIAS)

    targets = training.targets
    loss = training.loss

    def decode(self, items: Sequence[Item]) -> list[list[dict[str, Any]]]:
        """Spans of the labels that are asked for."""
        return decoding.decode(self, as_tags(self, items))

    def word_probabilities(self, item: Item) -> tuple[Array, Array]:
        """Probabilities of the tags of the labels that are asked for."""
        return decoding.word_probabilities(self, as_tags(self, [item])[0])

    def marks(self, output: Output) -> Output:
        """Those of the tags."""
        return self.plain.marks(output)

    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """That of the tags, which alone are exported."""
        return self.plain.stock_class(head.solved, family, width)  # type: ignore[arg-type]


class _Tags(TagChoices):
    """The tags, which can be refitted without the descriptions."""

    task: EntitiesByName

    def refitted_as(self) -> TokenClassification:
        """The task of the tags alone."""
        return replace(self.task.plain, decoder="softmax")
