"""Vectors for sentences, compared by cosine: semantic similarity and search.

The objective follows from the columns of the training data:
    text_a, text_b, score      CoSENT ranking loss, or cosine regression
    text_a, text_b             in-batch negatives (multiple negatives ranking)
    text_a, text_b, negative   the same with a hard negative each, or a triplet margin
    text_a, text_b, label      three-way softmax over (u, v, |u - v|), Reimers & Gurevych 2019

Losses with an inverse temperature are divided by it, so that their gradient is one in units of cosine: at 20 that of
CoSENT was fifty times the gradient of the other tasks, and drowned them.

A text longer than the encoder is the token-weighted mean of its windows' vectors, normalised afterwards.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from manyheads.errors import DataError, RowError
from manyheads.metrics.evidence import Ranks, Tally, cluster_numbers, grouped
from manyheads.metrics.vectors import cosine, pearson, ranks, spearman
from manyheads.tasks.base import (
    AnswerForm,
    Array,
    DataStatistics,
    EncoderInput,
    Item,
    Level,
    Loss,
    Moments,
    Output,
    Row,
    Task,
    merged,
    text_of,
    window_owners,
)
from manyheads.tasks.settings import SETTLED, Doc, Pooling, Stride
from manyheads.text.pack import Source
from manyheads.text.values import check_spelling, is_missing, number_of, optional_text

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import torch
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import SentenceModule
    from manyheads.text.pack import Encoding

Form = Literal["scored", "positives", "triplets", "nli"]
Objective = Literal["cosent", "cosine", "in-batch-negatives", "triplet", "softmax"]

OBJECTIVES: Mapping[str, tuple[Objective, ...]] = {
    "scored": ("cosent", "cosine"),
    "positives": ("in-batch-negatives",),
    "triplets": ("in-batch-negatives", "triplet"),
    "nli": ("softmax",),
}
"""What each form of data can be trained with; the first is the default."""

ALIKE = 1e-4
"""Similarities of all pairs that differ by less than this are those of one vector."""
SCORE_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0))
"""Ranges of scores that people use."""
NLI_LABELS = ("contradiction", "entailment", "neutral")
NLI_SIMILARITY = {"contradiction": 0.0, "neutral": 0.5, "entailment": 1.0}
"""How NLI labels rank when embeddings are scored on them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts and what is known of them."""

    text_a: str
    text_b: str
    form: Form
    negative: str | None = None
    score: float | None = None
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class SentenceEmbedding(Task[Pair]):
    """Pooled, optionally projected and normalised vectors."""

    kind: ClassVar[str] = "sentence-embedding"
    main_metric: ClassVar[str] = "spearman"
    metric_names: ClassVar[tuple[str, ...]] = ("spearman", "pearson", "recall_at_1", "mrr")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text_a", "text_b"),)
    answer_form: ClassVar[AnswerForm] = "vector"
    cluster_noun: ClassVar[str] = "pairs"
    example_noun: ClassVar[str] = "pairs"

    pooling: Pooling = "mean"
    projection: Annotated[int | None, Gt(0), Doc("output width of a linear layer")] = None
    """Output width of a linear projection; None keeps the encoder's."""
    activation: Annotated[Literal["identity", "tanh"], SETTLED] = "identity"
    """After the projection; settled from the encoder's folder where that has a dense layer of its own."""
    layer_norm: Annotated[bool, Doc("on the vector")] = False
    normalize: Annotated[bool, Doc("vectors of length 1")] = True
    objective: Annotated[Objective | None, Doc("the loss; none: what fits the columns of the data")] = None
    """None: the default of the data's form."""
    scale: Annotated[float, Gt(0), Doc("on cosines, in cosent and in-batch-negatives")] = 20.0
    """Inverse temperature on cosines (CoSENT, in-batch negatives)."""
    margin: Annotated[float, Gt(0), Doc("of triplet")] = 0.5
    """Triplet margin, in cosine distance."""
    score_range: Annotated[tuple[float, float] | None, Doc("lowest and highest score of pairs, for cosine")] = None
    """Lowest and highest score, for cosine regression. None: the first of SCORE_RANGES that holds all scores of the data, or
    else their lowest and highest."""
    matryoshka: Annotated[
        tuple[Annotated[int, Gt(0)], ...], Doc("widths: vectors cut to these are trained beside whole ones")
    ] = ()
    """Widths at which the truncated vector must be good too (Kusupati 2022)."""
    stride: Stride = 64

    def __post_init__(self) -> None:
        """Raises ValueError for a range of scores that does not rise."""
        if self.score_range is not None and self.score_range[0] >= self.score_range[1]:
            raise ValueError("score_range must be [lowest, highest]")

    @property
    def distillation(self) -> Distillation[Pair]:
        """By cosines."""
        from manyheads.tasks.sentence_embedding.distillation import VectorDistillation

        return VectorDistillation(self)

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Vectors before normalisation; the NLI classifier's weights while training from NLI labels."""
        vectors: dict[str, Level] = {"vector_SD": "sequence"}
        return vectors | ({"nli_weight": "constant"} if self.objective == "softmax" else {})

    @property
    def compares_examples(self) -> bool:
        """Only `cosine` and `softmax` look at each pair by itself."""
        return self.objective not in ("cosine", "softmax")

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> Pair:
        """`text_a`, `text_b`, and `score`, `negative`, `label` or nothing more."""
        texts: dict[str, Any] = {}
        for key in ("text_a", "text_b"):
            text = row.get(key)
            if not isinstance(text, str) or not text.strip():
                raise RowError(
                    f"'{key}' is empty or missing" if text in (None, "") else f"'{key}' must be a text, seen {text!r}"
                )
            texts[key] = text
        if not is_missing(row.get("score")):
            return Pair(**texts, form="scored", score=number_of(row["score"], "score"))
        if not is_missing(row.get("label")):
            label = str(row["label"]).strip().lower()
            if label not in NLI_LABELS:
                raise RowError(f"NLI label {row['label']!r} is none of {', '.join(NLI_LABELS)}")
            return Pair(**texts, form="nli", label=label)
        negative = optional_text(row.get("negative"), "negative")
        if negative is None:
            if "score" in row or "label" in row:
                raise RowError("has an empty 'score' or 'label'; fill it in or leave the column out")
            check_spelling(row, ("score", "label", "negative"))
            return Pair(**texts, form="positives")
        return Pair(**texts, form="triplets", negative=negative)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: {"text_b": ..., "score" | "negative" | "label": ...}}`; the row's text is `text_a`."""
        if not isinstance(target, Mapping):
            raise RowError(f"target '{self.name}' must be an object with 'text_b', seen {target!r}")
        return {"text_a": text_of(row), **target}

    def collect(self, example: Pair) -> DataStatistics:
        """The form of the data, NLI labels, and the score."""
        numbers = {} if example.score is None else {"score": Moments.of(example.score)}
        return DataStatistics(Counter([example.label] if example.label else []), frozenset([example.form]), numbers)

    def fit(self, statistics: DataStatistics) -> SentenceEmbedding:
        """The objective that fits the form of the training data."""
        forms = [form for form in OBJECTIVES if form in statistics.flags]
        if forms == ["positives", "triplets"]:
            forms = ["triplets"]  # a pair without a hard negative still has its in-batch negatives
        if len(forms) != 1:
            raise DataError(
                f"task '{self.name}': training rows mix {' and '.join(forms)} pairs; use one form throughout"
            )
        fitting = OBJECTIVES[forms[0]]
        if self.objective is not None and self.objective not in fitting:
            raise DataError(
                f"task '{self.name}': objective {self.objective} cannot train on {forms[0]} pairs; use {' or '.join(fitting)}"
            )
        scores = self.score_range if self.score_range is not None else _range_of(statistics.numbers.get("score"))
        return replace(self, objective=self.objective or fitting[0], score_range=scores)

    def validate(self, example: Pair) -> None:
        """Cosine regression has scores within its range; any form can be scored."""
        if self.objective == "cosine" and self.score_range is not None and example.score is not None:
            low, high = self.score_range
            if not low <= example.score <= high:
                raise RowError(
                    f"score {example.score:g} lies outside of the range of scores, {low:g} to {high:g}; correct it, or set "
                    f"tasks.{self.name}.score_range"
                )

    # -- encoding -----------------------------------------------------------------------------------------------
    def sources_of_example(self, example: Pair) -> Sequence[EncoderInput]:
        """Two texts, or three with a negative."""
        texts = [example.text_a, example.text_b, *([example.negative] if example.negative is not None else [])]
        return [EncoderInput(Source(text, stride=self.stride)) for text in texts]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`text`."""
        return EncoderInput(Source(text_of(row), stride=self.stride))

    # -- training -----------------------------------------------------------------------------------------------
    def build_head(self, width: int) -> nn.Module:
        """Pooling, optional projection and LayerNorm; with NLI labels the classifier over (u, v, |u - v|)."""
        from manyheads.nn.heads import EmbeddingHead

        return EmbeddingHead(
            width,
            pooling=self.pooling,
            projection=self.projection,
            layer_norm=self.layer_norm,
            activation=self.activation,
            nli_labels=len(NLI_LABELS) if self.objective == "softmax" else 0,
        )

    def targets(self, examples: Sequence[Pair], encodings: Sequence[Sequence[Sequence[Encoding]]]) -> dict[str, Array]:
        """Rows of the merged texts: `a_B`, `b_B`, `negative_N`; `score_B`, `label_B`; `identity_X` equal for equal texts."""
        windows = [source for asked in encodings for source in asked]
        owner_S, share_S = window_owners(windows)
        sizes = np.array([len(asked) for asked in encodings])
        first_B = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        scores = [0.0 if e.score is None else self._cosine_of(e.score) for e in examples]
        texts = [entry.source.first for example in examples for entry in self.sources_of_example(example)]
        return {
            "owner_S": owner_S,
            "share_S": share_S,
            "a_B": first_B,
            "b_B": first_B + 1,
            "negative_N": (first_B + 2)[sizes == 3],
            "negative_of_N": np.flatnonzero(sizes == 3),
            "score_B": np.array(scores, np.float32),
            "label_B": np.array([NLI_LABELS.index(e.label) if e.label else 0 for e in examples], np.int64),
            "identity_X": np.array([_identity(text) for text in texts], np.int64),
        }

    def _cosine_of(self, score: float) -> float:
        """The cosine that a score stands for: 1 for the highest; 0 for the lowest, or where scores can be negative for 0."""
        low, high = self.score_range if self.score_range is not None else (0.0, 1.0)
        return score / max(-low, high) if low < 0 else (score - low) / (high - low)

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Pairs. Objectives that compare pairs with one another see only those of their own part of a batch."""
        return float(len(targets["a_B"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """The objective's mean over pairs, and over Matryoshka widths.

        Uninformed is log(3) for `softmax`; for `cosent` and `in-batch-negatives` the figure is `scale`, which multiplies
        their gradient and would drown other tasks. The others have none.
        """
        vector_XD = merged(output["vector_SD"], targets["owner_S"], targets["share_S"], len(targets["identity_X"]))
        widths = [*(w for w in self.matryoshka if w < vector_XD.shape[1]), vector_XD.shape[1]]
        losses = [self._objective(vector_XD[:, :width], output, targets) for width in widths]
        chance_loss = {"softmax": float(np.log(len(NLI_LABELS))), "cosent": self.scale, "in-batch-negatives": self.scale}
        mean = sum(losses[1:], losses[0]) / len(losses)
        return Loss(mean, chance_loss.get(self.objective or "", 1.0))

    def _objective(self, vector_XD: torch.Tensor, output: Output, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from manyheads.nn import pair_losses

        a_BD, b_BD = vector_XD[targets["a_B"]], vector_XD[targets["b_B"]]
        negative_ND = vector_XD[targets["negative_N"]]
        if self.objective == "cosent":
            return pair_losses.cosent(a_BD, b_BD, targets["score_B"], scale=self.scale)
        if self.objective == "cosine":
            return pair_losses.cosine_mse(a_BD, b_BD, targets["score_B"])
        if self.objective == "softmax":
            return pair_losses.nli_softmax(a_BD, b_BD, targets["label_B"], output["nli_weight"])
        if self.objective == "triplet":
            of = targets["negative_of_N"]
            return pair_losses.triplet(a_BD[of], b_BD[of], negative_ND, margin=self.margin)
        same = targets["identity_X"]
        candidates = same[targets["b_B"]] if not len(negative_ND) else _joined(same, targets)
        duplicate_BC = same[targets["b_B"]][:, None] == candidates[None, :]
        negatives = negative_ND if len(negative_ND) else None
        return pair_losses.in_batch_negatives(a_BD, b_BD, negatives, scale=self.scale, duplicate_BC=duplicate_BC)

    # -- answering ----------------------------------------------------------------------------------------------
    def decode(self, items: Sequence[Item]) -> list[np.ndarray]:
        """One float32 vector each, of length 1 unless `normalize` is off."""
        if not items:
            return []
        owner_S, share_S = window_owners([item.encodings for item in items])
        vector_SD = np.concatenate([output["vector_SD"] for item in items for output in item.outputs]).astype(
            np.float32
        )
        vector_BD = vector_SD
        if len(owner_S) != len(items):
            vector_BD = np.zeros((len(items), vector_SD.shape[1]), np.float32)
            np.add.at(vector_BD, owner_S, vector_SD * share_S[:, None])
        if self.normalize:
            vector_BD = vector_BD / np.maximum(np.linalg.norm(vector_BD, axis=-1, keepdims=True), 1e-12)
        return list(vector_BD)

    def answer_keys(self, answer: np.ndarray) -> dict[str, Any]:
        """The vector as a list of numbers."""
        return {self.name: answer.tolist()}

    def score(self, answers: Sequence[Sequence[np.ndarray]], examples: Sequence[Pair]) -> dict[str, float]:
        """Spearman and Pearson of cosine against scores (NLI labels ranked); else recall at 1 and reciprocal rank."""
        golds = _golds(examples)
        if golds is not None:
            similarities = _similarities(answers)
            return {"spearman": spearman(similarities, golds), "pearson": pearson(similarities, golds)}
        rank_Q = _ranks(answers, examples)
        return {"recall_at_1": float((rank_Q == 1).mean()), "mrr": float((1 / rank_Q).mean())}

    def chance(self, examples: Sequence[Pair]) -> dict[str, float]:
        """An order by chance; its expected figures."""
        if _golds(examples) is not None:
            return {"spearman": 0.0, "pearson": 0.0}
        count = len(examples)
        return {"recall_at_1": 1 / count, "mrr": float((1 / np.arange(1, count + 1)).mean())} if count else {}

    def evidence(
        self, answers: Sequence[Sequence[np.ndarray]], examples: Sequence[Pair], clusters: Sequence[str]
    ) -> Tally | Ranks:
        """Similarities beside scores; without scores the reciprocal rank of each pair, among all candidates there are."""
        golds = _golds(examples)
        if golds is not None:
            return Ranks(cluster_numbers(clusters), _similarities(answers), np.array(golds))
        rank_Q = _ranks(answers, examples)
        return Tally(grouped(np.stack([1 / rank_Q, np.ones(len(rank_Q))], axis=1), clusters), "mean")

    def shortcoming(self, answers: Sequence[Sequence[np.ndarray]], examples: Sequence[Pair]) -> str | None:
        """Texts have all the same vector, or their order has nothing to do with the scores."""
        if len(examples) < 2:
            return None
        if float(np.ptp(_similarities(answers))) < ALIKE:
            return f"gives all {len(examples):,} pairs the same similarity"
        metrics = self.score(answers, examples)
        if metrics.get("spearman", 1.0) <= 0:
            return f"ranks pairs no better than chance (Spearman {metrics['spearman']:.2f})"
        return None

    def headline(self, metrics: Mapping[str, float]) -> float:
        """Spearman where pairs have scores, reciprocal rank elsewhere."""
        return metrics["spearman"] if "spearman" in metrics else metrics["mrr"]

    # -- files, reports, other tools ------------------------------------------------------------------------------
    @classmethod
    def holds(cls, entry: Any) -> bool | None:
        """A list of numbers, or a gold pair."""
        first = entry[0] if isinstance(entry, list) and entry else None
        return isinstance(first, int | float) or (isinstance(entry, Mapping) and "text_b" in entry)

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """`vector`; gold as it is, with the text of the row as `text_a`."""
        return {"text_a": row.get("text"), **entry} if isinstance(entry, Mapping) else {"vector": entry}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """Spearman and Pearson where gold has scores, recall and reciprocal rank elsewhere."""
        from manyheads.tasks.sentence_embedding.file_scores import score_pairs

        return score_pairs(golds, guesses)

    def findings(self, answers: Sequence[Sequence[Any]], examples: Sequence[Pair]) -> Sequence[Part]:
        """Similarity against score, and the pairs that are farthest off."""
        from manyheads.tasks.sentence_embedding.mistakes import vector_findings

        return vector_findings(self, answers, examples)

    def sentence_modules(self, head: nn.Module, width: int) -> Sequence[SentenceModule]:
        """Pooling, projection, LayerNorm and normalisation."""
        from manyheads.tasks.sentence_embedding.modules import sentence_modules

        return sentence_modules(self, head, width)

    def settled_by_encoder(self, folder: Path, given: Collection[str]) -> SentenceEmbedding:
        """Pooling and dense layer of a folder of sentence-transformers."""
        from manyheads.tasks.sentence_embedding.encoder_folder import settled_by_encoder

        return settled_by_encoder(self, folder, given)

    def start_from_encoder(self, folder: Path, given: Collection[str], head: nn.Module) -> None:
        """The weights of that dense layer."""
        from manyheads.tasks.sentence_embedding.encoder_folder import start_from_encoder

        start_from_encoder(folder, given, head)

    def encoder_notes(self, folder: Path, given: Collection[str]) -> Sequence[str]:
        """What the folder's own vectors have and those of a head have not."""
        from manyheads.tasks.sentence_embedding.encoder_folder import encoder_notes

        return encoder_notes(folder, given)


def _joined(same_X: torch.Tensor, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat([same_X[targets["b_B"]], same_X[targets["negative_N"]]])


def _identity(text: str) -> int:
    """A 63-bit number that is the same for the same text, in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def _range_of(scores: Moments | None) -> tuple[float, float]:
    """The range that such scores come from."""
    if scores is None:
        return SCORE_RANGES[0]
    for low, high in SCORE_RANGES:
        if low <= scores.low and scores.high <= high:
            return low, high
    return scores.low, scores.high if scores.low < scores.high else scores.low + 1.0


def _golds(examples: Sequence[Pair]) -> list[float] | None:
    """What similarities are held against; None where pairs have neither scores nor NLI labels."""
    golds = [NLI_SIMILARITY[e.label] if e.label else e.score for e in examples]
    known = [float(gold) for gold in golds if gold is not None]
    return known if len(known) == len(golds) else None


def _similarities(answers: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Cosine of each pair, `(B,)`."""
    return cosine(np.stack([answer[0] for answer in answers]), np.stack([answer[1] for answer in answers]))


def _ranks(answers: Sequence[Sequence[np.ndarray]], examples: Sequence[Pair]) -> np.ndarray:
    """Rank from 1 of each first text's partner among all partners and negatives, `(B,)`."""
    a_BD, b_BD = (np.stack([answer[i] for answer in answers]) for i in (0, 1))
    extra = [answer[2] for answer in answers if len(answer) == 3]
    candidates_CD = np.concatenate([b_BD, np.stack(extra)]) if extra else b_BD
    texts = [e.text_b for e in examples] + [e.negative for e in examples if e.negative is not None]
    return ranks(a_BD, candidates_CD, identities=np.array([_identity(text) for text in texts]))
