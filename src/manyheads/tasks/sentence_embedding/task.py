"""Vectors for sentences, compared by cosine: semantic similarity and search.

The objective follows from the columns of the training data:
    text_a, text_b, score      CoSENT ranking loss, or cosine regression
    text_a, text_b             in-batch negatives (multiple negatives ranking)
    text_a, text_b, negative   the same with one hard negative each, or a triplet margin
    text_a, text_b, label      three-way softmax over (u, v, |u - v|), Reimers & Gurevych 2019

The vector of a text longer than the encoder is the token-weighted mean of its windows' vectors, normalised afterwards.
`training.py` has the targets and the losses, `scores.py` the metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from manyheads.errors import DataError, RowError
from manyheads.metrics.vectors import Floats, cosine, cosines, unit_rows
from manyheads.tasks.base import AnswerForm, DataStatistics, Item, Level, Moments, Row
from manyheads.tasks.inputs import merge_outputs
from manyheads.tasks.sentence_embedding import training
from manyheads.tasks.sentence_embedding.example import NLI_LABELS, Pair
from manyheads.tasks.sentence_embedding.pairs import PairTask
from manyheads.tasks.sentence_embedding.prompts import exported_prompts
from manyheads.tasks.settings import DERIVED, Doc, Pooling

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from torch import nn

    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import SentenceModule

Objective = Literal["cosent", "cosine", "in-batch-negatives", "triplet", "softmax"]

OBJECTIVES: Mapping[str, tuple[Objective, ...]] = {
    "scored": ("cosent", "cosine"),
    "positives": ("in-batch-negatives",),
    "triplets": ("in-batch-negatives", "triplet"),
    "nli": ("softmax",),
}
"""Objectives for each form of data; the first is the default."""

SCORE_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0))
"""Common ranges of scores."""


@dataclass(frozen=True, kw_only=True)
class SentenceEmbedding(PairTask):
    """Pooled, optionally projected and normalised vectors."""

    answer_form: ClassVar[AnswerForm] = "vector"
    pipeline_tag: ClassVar[str | None] = "sentence-similarity"

    vectors: Annotated[
        Literal["dense", "sparse", "multi"], Doc("one vector of a text; weights of its tokens; or a vector for each token")
    ] = "dense"
    pooling: Pooling = "mean"
    projection: Annotated[int | None, Gt(0), Doc("output width of a linear layer")] = None
    """Output width of a linear projection; None keeps the encoder's width."""
    activation: Annotated[Literal["identity", "tanh"], DERIVED] = "identity"
    """Activation after the projection, from the dense layer of the encoder's folder, if it has one."""
    linear: Annotated[bool, DERIVED] = False
    """Whether a square linear layer follows the pooling, fitted to the trained encoder (`training/final_layer.py`)."""
    layer_norm: Annotated[bool, Doc("on the vector")] = False
    normalize: Annotated[bool, Doc("vectors of length 1")] = True
    objective: Annotated[Objective | None, Doc("the loss; none: what fits the columns of the data")] = None
    """None: the default for the form of the data."""
    scale: Annotated[float, Gt(0), Doc("on cosines, in cosent and in-batch-negatives")] = 20.0
    """Inverse temperature on cosines (CoSENT, in-batch negatives)."""
    margin: Annotated[float, Gt(0), Doc("of triplet")] = 0.5
    """Triplet margin, in cosine distance."""
    score_range: Annotated[tuple[float, float] | None, Doc("lowest and highest score of pairs, for cosine")] = None
    """Lowest and highest score, for cosine regression. None: the first of SCORE_RANGES that contains all scores of the data,
    or else their lowest and highest."""
    matryoshka: Annotated[
        tuple[Annotated[int, Gt(0)], ...], Doc("widths: vectors cut to these are trained beside whole ones")
    ] = ()
    """Widths to which vectors can be truncated (Kusupati 2022)."""
    def __post_init__(self) -> None:
        """Raises ValueError for an empty range of scores, and an unknown default prompt."""
        super().__post_init__()
        if self.score_range is not None and self.score_range[0] >= self.score_range[1]:
            raise ValueError("score_range must be [lowest, highest]")

    @property
    def linear_output(self) -> str | None:
        """The vectors of a head without weights."""
        plain = self.projection is None and not self.layer_norm and not self.linear and self.objective != "softmax"
        return "vector_SD" if plain else None

    def with_linear_layer(self) -> SentenceEmbedding:
        """With `linear`."""
        return replace(self, linear=True)

    @property
    def distillation(self) -> Distillation[Pair]:
        """By cosines."""
        from manyheads.tasks.sentence_embedding.distillation import VectorDistillation

        return VectorDistillation(self)

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Vectors before normalisation; for NLI labels, the weights of the classifier."""
        vectors: dict[str, Level] = {"vector_SD": "sequence"}
        return vectors | ({"nli_weight": "constant"} if self.objective == "softmax" else {})

    @property
    def compares_examples(self) -> bool:
        """Only `cosine` and `softmax` look at each pair by itself."""
        return self.objective not in ("cosine", "softmax")

    # -- data ---------------------------------------------------------------------------------------------------
    def fit(self, statistics: DataStatistics) -> SentenceEmbedding:
        """The objective for the form of the training data, and the range of its scores."""
        forms = [form for form in OBJECTIVES if form in statistics.flags]
        if forms == ["positives", "triplets"]:
            forms = ["triplets"]  # a pair without a hard negative still has its in-batch negatives
        if len(forms) != 1:
            raise DataError(
                f"task '{self.name}': training rows mix {' and '.join(forms)} pairs; use one form throughout"
            )
        possible = OBJECTIVES[forms[0]]
        if self.objective is not None and self.objective not in possible:
            raise DataError(
                f"task '{self.name}': objective {self.objective} cannot train on {forms[0]} pairs; use "
                f"{' or '.join(possible)}"
            )
        found = statistics.numbers.get("score")
        if found is not None and found.low == found.high and self.score_range is None:
            raise DataError(f"task '{self.name}': all pairs have the score {found.low:g}, from which nothing is learned; "
                            "give pairs with other scores too, or leave the column out if all are alike")  # fmt: skip
        score_range = self.score_range if self.score_range is not None else _range_of(found)
        return replace(self, objective=self.objective or possible[0], score_range=score_range)

    def validate(self, example: Pair) -> None:
        """For cosine regression, scores must be within the range; any form can be scored."""
        if self.objective == "cosine" and self.score_range is not None and example.score is not None:
            low, high = self.score_range
            if not low <= example.score <= high:
                raise RowError(
                    f"score {example.score:g} is outside the range of scores, {low:g} to {high:g}; correct it, or set "
                    f"tasks.{self.name}.score_range"
                )

    # -- training, answering, scoring -----------------------------------------------------------------------------
    def build_head(self, width: int) -> nn.Module:
        """Pooling, optional projection and LayerNorm; for NLI labels, the classifier over (u, v, |u - v|)."""
        from manyheads.nn.heads import EmbeddingHead

        return EmbeddingHead(
            width,
            pooling=self.pooling,
            projection=width if self.linear else self.projection,
            layer_norm=self.layer_norm,
            activation=self.activation,
            nli_labels=len(NLI_LABELS) if self.objective == "softmax" else 0,
        )

    targets = training.targets
    loss = training.loss

    def decode(self, items: Sequence[Item]) -> list[np.ndarray]:
        """A float32 vector each, of length 1 unless `normalize` is off."""
        if not items:
            return []
        vector_BD = merge_outputs(items, "vector_SD", np.float32)
        if self.normalize:
            vector_BD = unit_rows(vector_BD)
        return list(vector_BD)

    def answer_keys(self, answer: np.ndarray) -> dict[str, Any]:
        """The vector as a list of numbers."""
        return {self.name: answer.tolist()}

    def similarity(self, queries: Sequence[np.ndarray], candidates: Sequence[np.ndarray]) -> Floats:
        """Cosines."""
        return cosines(np.stack(queries), np.stack(candidates))

    def pair_similarities(self, answers: Sequence[Sequence[np.ndarray]]) -> Floats:
        """Cosine of each pair."""
        return cosine(np.stack([answer[0] for answer in answers]), np.stack([answer[1] for answer in answers]))

    # -- files, reports, other tools ------------------------------------------------------------------------------
    @classmethod
    def matches_entry(cls, entry: Any) -> bool | None:
        """A list of numbers, or a gold pair."""
        first = entry[0] if isinstance(entry, list) and entry else None
        return isinstance(first, int | float) or (isinstance(entry, Mapping) and "text_b" in entry)

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """`vector`; a gold pair unchanged, with the text of the row as `text_a`."""
        return {"text_a": row.get("text"), **entry} if isinstance(entry, Mapping) else {"vector": entry}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """Spearman and Pearson if gold has scores, else recall at 1 and mean reciprocal rank."""
        from manyheads.tasks.sentence_embedding.file_scores import score_pairs

        return score_pairs(golds, guesses)

    def sentence_modules(self, head: nn.Module, width: int) -> Sequence[SentenceModule]:
        """Pooling, projection, LayerNorm and normalisation."""
        from manyheads.tasks.sentence_embedding.modules import sentence_modules

        return sentence_modules(self, head, width)

    def sentence_settings(self) -> dict[str, Any]:
        """Prompts."""
        return {"prompts": exported_prompts(self), "default_prompt_name": self.default_prompt_name}

    def with_encoder_settings(self, folder: Path, given: Collection[str]) -> SentenceEmbedding:
        """Pooling, dense layer and prompts of a sentence-transformers folder."""
        from manyheads.tasks.sentence_embedding.encoder_folder import with_encoder_settings

        return with_encoder_settings(self, folder, given)

    def load_encoder_weights(self, folder: Path, given: Collection[str], head: nn.Module) -> None:
        """The weights of that dense layer."""
        from manyheads.tasks.sentence_embedding.encoder_folder import load_encoder_weights

        load_encoder_weights(folder, given, head)

    def encoder_notes(self, folder: Path, given: Collection[str]) -> Sequence[str]:
        """Parts of the folder's own vectors that those of a head lack."""
        from manyheads.tasks.sentence_embedding.encoder_folder import encoder_notes

        return encoder_notes(folder, given)


def _range_of(scores: Moments | None) -> tuple[float, float]:
    """The most likely range of these scores."""
    if scores is None:
        return SCORE_RANGES[0]
    for low, high in SCORE_RANGES:
        if low <= scores.low and scores.high <= high:
            return low, high
    return scores.low, scores.high if scores.low < scores.high else scores.low + 1.0
