"""Labels in words: a text is compared with the description of each label, which the same encoder reads (`by_name: true`).

    logit of a label = scale * cosine(text, description) + fitted score, which only labels of the training data have

Decided here:
- The fitted score is a linear layer on the pooled text, much as in a head without descriptions, and 0 for other labels. In
  training it is left out at random (`NamedLabelsHead`), or it alone would learn the labels, and descriptions nothing.
- Fitted scores tell known labels from one another, not from new ones: where both are asked for, the highest fitted score of
  a text counts as 0. Otherwise known labels would win more often the longer they were trained.
- Vectors of the known labels are part of the model folder; those of others are computed when they are asked for.
- One label per text. Scores, calibration and reports are those of `TextClassification`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from manyheads.errors import DataError, UsageError
from manyheads.tasks.base import DataStatistics, EncoderInput, Item, Level
from manyheads.tasks.by_name import NamedLabels, unit_vectors
from manyheads.tasks.inputs import merge_outputs
from manyheads.tasks.settings import DERIVED, HELD, Doc
from manyheads.tasks.text_classification import by_name_training as training
from manyheads.tasks.text_classification.choices import LabelChoices
from manyheads.tasks.text_classification.example import LabelledText
from manyheads.tasks.text_classification.task import TextClassification

if TYPE_CHECKING:
    from torch import nn

SCALE = 20.0
"""On cosines at first, as for sentence embeddings."""
UNKNOWN = -1
"""The column of a label that the head was not trained on."""


@dataclass(frozen=True, kw_only=True)
class ClassificationByName(NamedLabels[LabelledText], TextClassification):
    """Classification of texts by comparison with labels in words; other labels can be given with the texts."""

    chosen_by: ClassVar[Mapping[str, Any]] = {"by_name": True}
    vector_output: ClassVar[str] = "vector_SD"

    unit: Annotated[Literal["text"], Doc("what gets a label: the text")] = "text"
    by_name: Annotated[Literal[True], Doc("compare texts with the labels in words")] = field()
    negatives: Annotated[int, Ge(0), Doc("labels besides its own whose descriptions are encoded with each training text")] = 1
    hidden: Annotated[None, DERIVED] = None
    """Not a key: there is no head that a hidden layer could be part of."""
    threshold: Annotated[Literal["auto"], DERIVED] = "auto"
    """Not a key: texts have one label."""
    places: Annotated[tuple[int, ...] | None, HELD] = field(default=None, repr=False, compare=False)
    """The column of each label in the head's fitted scores; None: those of the head's own labels."""

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Vector and fitted scores of each window; the factor on cosines."""
        return {"vector_SD": "sequence", "fitted_SK": "sequence", "scale_1": "constant"}

    @property
    def compares_examples(self) -> bool:
        """Labels of other texts are negatives."""
        return True

    @property
    def distillation(self) -> None:
        """None: soft labels are for heads with a fixed number of outputs."""
        return

    @property
    def choices(self) -> LabelChoices:
        """The label."""
        return _Picked(self)

    # -- data ---------------------------------------------------------------------------------------------------
    def fit(self, statistics: DataStatistics) -> ClassificationByName:
        """Labels of the training data, unless listed, and their descriptions."""
        fitted = super().fit(statistics)
        assert isinstance(fitted, ClassificationByName), "the same task"
        if fitted.multi_label:
            raise DataError(f"task '{self.name}': its rows have 'labels', and by_name is for texts with one label each; give "
                            "'label', or set by_name: false")  # fmt: skip
        return fitted.with_texts()

    def with_labels(self, labels: Sequence[str]) -> ClassificationByName:
        """Without what belonged to the labels before."""
        changed = super().with_labels(labels)
        assert isinstance(changed, ClassificationByName), "the same task"
        return self if changed is self else changed.described_as_before(self)

    def choosing_among(self, labels: Mapping[str, str | None]) -> ClassificationByName:
        """Known labels keep their fitted scores and, without a new one, their descriptions. Raises UsageError."""
        if len(labels) < 2:
            raise UsageError(f"texts choose among labels, of which {len(labels)} is given; give at least two")
        place = {label: k for k, label in enumerate(self.labels)}
        places = tuple(place.get(label, UNKNOWN) for label in labels)
        return replace(self, labels=tuple(labels), label_texts=self.texts_of(labels), places=places, vector_KD=None,
                       label_weights=(), descriptions={}, class_weights="none")  # fmt: skip

    # -- encoding, training, answering ------------------------------------------------------------------------------
    def sources_of_example(self, example: LabelledText) -> Sequence[EncoderInput]:
        """The text, and the descriptions that it is trained with."""
        read = training.labels_to_read(self, example) if self.label_texts else []
        return [*self.scored_inputs(example), *map(self.description, read)]

    def scored_inputs(self, example: LabelledText) -> Sequence[EncoderInput]:
        """The text."""
        return super().sources_of_example(example)

    def build_head(self, width: int) -> nn.Module:
        """A vector, which begins as the pooled one, and scores of the labels, which begin at 0."""
        from manyheads.nn.heads import NamedLabelsHead

        return NamedLabelsHead(width, self.size, pooling=self.pooling, dropout=self.dropout, scale=SCALE)

    targets = training.targets
    loss = training.loss

    def logits(self, items: Sequence[Item]) -> np.ndarray:
        """Scaled cosines and fitted scores of each item, `(B, K)` float64."""
        if not items:
            return np.zeros((0, self.size))
        fitted_BK = merge_outputs(items, "fitted_SK", np.float64)
        if self.places is not None:
            known_K = np.array(self.places) != UNKNOWN
            fitted_BK = np.where(known_K, fitted_BK[:, self.places], 0.0)
            if known_K.any() and not known_K.all():
                fitted_BK -= known_K * fitted_BK[:, known_K].max(1, keepdims=True)
        if self.vector_KD is None:
            return fitted_BK
        scale = float(items[0].outputs[0]["scale_1"][0])
        unit_BD = unit_vectors(items, self.vector_output).astype(np.float64)
        return np.asarray(scale * (unit_BD @ self.vector_KD.T) + fitted_BK)

    def stock_class(self, head: nn.Module, family: str, width: int) -> None:
        """None: no class of transformers compares texts with descriptions."""
        return


class _Picked(LabelChoices):
    """Probabilities of labels, which only the whole model can judge: a head alone has no vectors of labels."""

    reviews: ClassVar[bool] = False
