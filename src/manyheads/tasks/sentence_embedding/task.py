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

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from manyheads.errors import DataError, RowError
from manyheads.tasks.base import AnswerForm, DataStatistics, EncoderInput, Item, Level, Moments, Row, Task, text_of
from manyheads.tasks.inputs import merge_outputs
from manyheads.tasks.sentence_embedding import scores, training
from manyheads.tasks.sentence_embedding.example import NLI_LABELS, Pair, read_pair
from manyheads.tasks.settings import DERIVED, Doc, Pooling, Stride
from manyheads.text.pack import Source

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from torch import nn

    from manyheads.html.page import Part
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
class SentenceEmbedding(Task[Pair]):
    """Pooled, optionally projected and normalised vectors."""

    kind: ClassVar[str] = "sentence-embedding"
    main_metric: ClassVar[str] = "spearman"
    metric_names: ClassVar[tuple[str, ...]] = ("spearman", "pearson", "recall_at_1", "mrr")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text_a", "text_b"),)
    optional_columns: ClassVar[tuple[str, ...]] = ("score", "negative", "label")
    answer_form: ClassVar[AnswerForm] = "vector"
    pipeline_tag: ClassVar[str | None] = "sentence-similarity"
    cluster_noun: ClassVar[str] = "pairs"
    example_noun: ClassVar[str] = "pairs"

    pooling: Pooling = "mean"
    projection: Annotated[int | None, Gt(0), Doc("output width of a linear layer")] = None
    """Output width of a linear projection; None keeps the encoder's width."""
    activation: Annotated[Literal["identity", "tanh"], DERIVED] = "identity"
    """Activation after the projection, from the dense layer of the encoder's folder, if it has one."""
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
    stride: Stride = 64

    def __post_init__(self) -> None:
        """Raises ValueError for an empty range of scores."""
        if self.score_range is not None and self.score_range[0] >= self.score_range[1]:
            raise ValueError("score_range must be [lowest, highest]")

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
    def read(self, row: Row) -> Pair:
        """`text_a`, `text_b`, and `score`, `negative`, `label` or none of these."""
        return read_pair(row)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: {"text_b": ..., "score" | "negative" | "label": ...}}`; the row's text is `text_a`."""
        if not isinstance(target, Mapping):
            raise RowError(f"target '{self.name}' must be an object with 'text_b', seen {target!r}")
        return {"text_a": text_of(row), **target}

    def collect(self, example: Pair) -> DataStatistics:
        """The form of the data, NLI labels, and moments of the score."""
        numbers = {} if example.score is None else {"score": Moments.of(example.score)}
        return DataStatistics(Counter([example.label] if example.label else []), frozenset([example.form]), numbers)

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """Above that of a number for a pair, below that of labels for one."""
        return 0.6

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
        score_range = self.score_range if self.score_range is not None else _range_of(statistics.numbers.get("score"))
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

    # -- encoding -----------------------------------------------------------------------------------------------
    def sources_of_example(self, example: Pair) -> Sequence[EncoderInput]:
        """Two texts, or three with a hard negative."""
        texts = [example.text_a, example.text_b, *([example.negative] if example.negative is not None else [])]
        return [EncoderInput(Source(text, stride=self.stride)) for text in texts]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`text`."""
        return EncoderInput(Source(text_of(row), stride=self.stride))

    # -- training, answering, scoring -----------------------------------------------------------------------------
    def build_head(self, width: int) -> nn.Module:
        """Pooling, optional projection and LayerNorm; for NLI labels, the classifier over (u, v, |u - v|)."""
        from manyheads.nn.heads import EmbeddingHead

        return EmbeddingHead(
            width,
            pooling=self.pooling,
            projection=self.projection,
            layer_norm=self.layer_norm,
            activation=self.activation,
            nli_labels=len(NLI_LABELS) if self.objective == "softmax" else 0,
        )

    targets = training.targets
    denominator = training.denominator
    loss = training.loss

    def decode(self, items: Sequence[Item]) -> list[np.ndarray]:
        """A float32 vector each, of length 1 unless `normalize` is off."""
        if not items:
            return []
        vector_BD = merge_outputs(items, "vector_SD", np.float32)
        if self.normalize:
            vector_BD = vector_BD / np.maximum(np.linalg.norm(vector_BD, axis=-1, keepdims=True), 1e-12)
        return list(vector_BD)

    def answer_keys(self, answer: np.ndarray) -> dict[str, Any]:
        """The vector as a list of numbers."""
        return {self.name: answer.tolist()}

    score = scores.score
    evidence = scores.evidence
    degenerate_reason = scores.degenerate_reason
    chance = scores.chance

    def main_score(self, metrics: Mapping[str, float]) -> float:
        """Spearman if pairs have scores, else mean reciprocal rank."""
        return metrics["spearman"] if "spearman" in metrics else metrics["mrr"]

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

    def findings(self, answers: Sequence[Sequence[Any]], examples: Sequence[Pair]) -> Sequence[Part]:
        """Cosine against gold similarity, and the pairs that are farthest off."""
        from manyheads.tasks.sentence_embedding.mistakes import vector_findings

        return vector_findings(answers, examples)

    def sentence_modules(self, head: nn.Module, width: int) -> Sequence[SentenceModule]:
        """Pooling, projection, LayerNorm and normalisation."""
        from manyheads.tasks.sentence_embedding.modules import sentence_modules

        return sentence_modules(self, head, width)

    def with_encoder_settings(self, folder: Path, given: Collection[str]) -> SentenceEmbedding:
        """Pooling and dense layer of a sentence-transformers folder."""
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
