"""Relevance of a text to a query, read together by the encoder (a cross-encoder): for ranking the results of a search.

Losses: `listwise` is the cross entropy of the softmax over a query's passages against their relevance (Cao et al. 2007,
ListNet), the default where rows hold lists; `pointwise` is the binary cross entropy of each passage (Nogueira & Cho 2019).

Decided here:
- In training, a list is cut to `list_size` passages: half of them the most relevant, the others the least, in their order in
  the file. All passages are scored.
- A passage counts as relevant (for `mrr_at_10` and for the score as a probability) if its relevance is at least half of the
  highest in the training data: 2 and 3 of 0 to 3, as in TREC's deep learning tracks.
- Softmax leaves the level of scores open; calibration on validation data makes them probabilities of being relevant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from manyheads.errors import DataError
from manyheads.metrics.calibration import fitted_scale, sigmoid
from manyheads.tasks.base import (
    AnswerForm,
    Array,
    DataStatistics,
    EncoderInput,
    Encodings,
    Item,
    Loss,
    Moments,
    Output,
    Row,
    Task,
    text_of,
)  # fmt: skip
from manyheads.tasks.inputs import merge_windows, window_weights
from manyheads.tasks.pooled import TextTask
from manyheads.tasks.scored import ScoredSpans
from manyheads.tasks.settings import DERIVED, Doc
from manyheads.tasks.text_ranking import scores
from manyheads.tasks.text_ranking.example import OPTIONAL, Ranked, read_ranked
from manyheads.text.pack import Source
from manyheads.text.values import first_given, optional_text

if TYPE_CHECKING:
    import torch

    from manyheads.html.page import Part
    from manyheads.tasks.file_rows import FileRow, FileScores


@dataclass(frozen=True, kw_only=True)
class TextRanking(ScoredSpans, TextTask[Ranked]):
    """A score for each pair of a query and a passage."""

    kind: ClassVar[str] = "text-ranking"
    main_metric: ClassVar[str] = "ndcg_at_10"
    metric_names: ClassVar[tuple[str, ...]] = ("ndcg_at_10", "mrr_at_10")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("query", "passage", "score"), ("query", "passage", "label"), ("query", "passages"), ("query", "positive"),
    )  # fmt: skip
    optional_columns: ClassVar[tuple[str, ...]] = OPTIONAL[2:]
    answer_form: ClassVar[AnswerForm] = "relevance"
    pipeline_tag: ClassVar[str | None] = "text-ranking"
    cluster_noun: ClassVar[str] = "queries"
    example_noun: ClassVar[str] = "queries or pairs"

    objective: Annotated[
        Literal["listwise", "pointwise"] | None, Doc("the loss; none: listwise for rows with lists, else pointwise")
    ] = None
    """None: the default for the form of the data."""
    list_size: Annotated[int, Ge(2), Doc("most passages of a query in a step, for rows with lists")] = 8
    highest: Annotated[float, Gt(0), DERIVED] = 1.0
    """The highest relevance in the training data, at least 1."""

    @property
    def size(self) -> int:
        """One score."""
        return 1

    def is_relevant(self, gain_P: Array) -> Array:
        """Whether passages of this relevance count as relevant, `(P,)`."""
        return np.asarray(gain_P >= self.highest / 2)

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> Ranked:
        """`query` with `passage` and `score` or `label`; with `passages`; or with `positive` and `negatives`."""
        return read_ranked(row)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """An object of the task's columns, or the relevance; the row's text is the passage, its question the query."""
        own = target if isinstance(target, Mapping) else {"label": target}
        shared = {} if "passages" in own or "positive" in own else {"passage": text_of(row)}
        return {"query": first_given(row.get("query"), row.get("question")), **shared, **own}

    def collect(self, example: Ranked) -> DataStatistics:
        """The form of the row, and moments of the relevance."""
        moments = [Moments.of(gain) for gain in example.gains]
        return DataStatistics(flags=frozenset(["lists" if example.listed else "pairs"]),
                              numbers={"relevance": sum(moments[1:], moments[0])})  # fmt: skip

    def fit(self, statistics: DataStatistics) -> TextRanking:
        """The objective for the form of the training data, and the highest relevance. Raises DataError."""
        if statistics.flags >= {"lists", "pairs"}:
            raise DataError(f"task '{self.name}': training rows mix lists of passages and single ones; use one "
                            "form throughout")  # fmt: skip
        found = statistics.numbers.get("relevance")
        if found is not None and found.low == found.high:
            raise DataError(f"task '{self.name}': all passages have the relevance {found.low:g}; give some that are relevant "
                            "and some that are not")  # fmt: skip
        if self.objective == "listwise" and "pairs" in statistics.flags:
            raise DataError(f"task '{self.name}': objective listwise needs rows with lists (passages, or positive and "
                            "negatives); use pointwise")  # fmt: skip
        default: Literal["listwise", "pointwise"] = "listwise" if "lists" in statistics.flags else "pointwise"
        return replace(self, objective=self.objective or default, highest=max(1.0, found.high if found else 1.0))

    # -- encoding -----------------------------------------------------------------------------------------------
    def training_list(self, example: Ranked) -> list[int]:
        """The passages that a step trains on, by index: the most relevant as half of them, then the least, in their order."""
        falling = sorted(range(len(example.gains)), key=lambda i: -example.gains[i])
        half = self.list_size // 2
        return [*falling[:half], *sorted(falling[half:], key=lambda i: example.gains[i])][: self.list_size]

    def sources_of_example(self, example: Ranked) -> Sequence[EncoderInput]:
        """The query with each passage of the training list."""
        return [self._input(example.query, example.passages[i]) for i in self.training_list(example)]

    def scored_inputs(self, example: Ranked) -> Sequence[EncoderInput]:
        """The query with each passage."""
        return [self._input(example.query, passage) for passage in example.passages]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`query` (or `question`) with `text`; None without a query."""
        query = optional_text(first_given(row.get("query"), row.get("question")), "query")
        return None if query is None else self._input(query, text_of(row))

    def _input(self, query: str, passage: str) -> EncoderInput:
        return EncoderInput(Source(query, passage, stride=self.stride))

    # -- training -----------------------------------------------------------------------------------------------
    def targets(self, examples: Sequence[Ranked], encodings: Encodings) -> dict[str, Array]:
        """Windows of each passage (`owner_S`, `share_S`); `gain_P`, 0 to 1; its cell in `gain_QL`, where -1 is no passage."""
        owner_S, share_S = window_weights([source for asked in encodings for source in asked])
        gains = [[example.gains[i] / self.highest for i in self.training_list(example)] for example in examples]
        gain_QL = np.full((len(gains), max(map(len, gains))), -1, np.float32)
        for q, gain in enumerate(gains):
            gain_QL[q, : len(gain)] = gain
        cell_P = np.flatnonzero(gain_QL.ravel() >= 0)
        gain_P = gain_QL.ravel()[cell_P]
        return {"owner_S": owner_S, "share_S": share_S, "gain_P": gain_P, "cell_P": cell_P, "gain_QL": gain_QL}

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of queries, or of passages for the pointwise loss."""
        return float(len(targets["gain_QL" if self.objective == "listwise" else "gain_P"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Cross entropy over each list, where chance is the log of its length; or of each passage."""
        from torch.nn.functional import binary_cross_entropy_with_logits as binary_cross_entropy

        gain_P, gain_QL = targets["gain_P"], targets["gain_QL"]
        logit_P = merge_windows(output["logits_SK"], targets["owner_S"], targets["share_S"], len(gain_P))[:, 0]
        if self.objective != "listwise":
            return Loss(binary_cross_entropy(logit_P, gain_P.to(logit_P.dtype), reduction="none"), float(np.log(2)))
        absent_QL = gain_QL < 0
        nothing = logit_P.new_full((gain_QL.numel(),), float("-inf"))
        logit_QL = nothing.index_put((targets["cell_P"],), logit_P).view_as(gain_QL)
        log_QL = logit_QL.log_softmax(-1).masked_fill(absent_QL, 0)
        wanted_QL = gain_QL.to(log_QL.dtype).clamp(min=0)
        return Loss(-(wanted_QL * log_QL).sum(-1) / wanted_QL.sum(-1), (~absent_QL).sum(-1).to(log_QL.dtype).log())

    # -- answering, scoring ---------------------------------------------------------------------------------------
    def decode(self, items: Sequence[Item]) -> list[dict[str, float]]:
        """`{"score": 0.93}`: the calibrated probability that the text is relevant."""
        score_B = sigmoid(self.logits(items)[:, 0] / self.temperature + self.score_bias)
        return [{"score": score} for score in score_B.tolist()]

    score = scores.score
    evidence = scores.evidence
    degenerate_reason = scores.degenerate_reason
    chance = scores.chance

    def calibrate(self, answers: Sequence[Sequence[Any]], examples: Sequence[Ranked]) -> TextRanking:
        """Temperature and bias of the log-odds, if some passages are relevant and some are not (Platt 1999)."""
        gain_P = np.array([gain for example in examples for gain in example.gains])
        right_P = self.is_relevant(gain_P)
        if right_P.all() or not right_P.any():
            return self
        score_P = np.array([answer["score"] for answered in answers for answer in answered])
        scale = fitted_scale(self.scale.undone(score_P), right_P)
        return replace(self, temperature=scale.temperature, score_bias=scale.bias)

    def recalibrate(self, answers: Sequence[Sequence[Any]], before: Task[Ranked]) -> Sequence[Sequence[Any]]:
        """Scores on the new scale."""
        assert isinstance(before, TextRanking), "the same task"
        return [self.rescaled(answered, before.scale) for answered in answers]

    # -- files, reports -------------------------------------------------------------------------------------------
    @classmethod
    def matches_entry(cls, entry: Any) -> bool | None:
        """A score alone, or gold passages of a query."""
        found = set(entry) if isinstance(entry, Mapping) else set()
        return found == {"score"} or bool({"query", "passages", "positive"} & found)

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """The columns of a labelled row, or the score of an answer."""
        shared = {"query": first_given(row.get("query"), row.get("question")), "passage": row.get("text")}
        return {**shared, **entry} if isinstance(entry, Mapping) else {**shared, "label": entry}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """nDCG and reciprocal rank, from a score for each passage."""
        return scores.score_rows(cls, golds, guesses)

    def findings(self, answers: Sequence[Sequence[Any]], examples: Sequence[Ranked]) -> Sequence[Part]:
        """Where the first relevant passage is found, and the queries that fail worst."""
        from manyheads.tasks.text_ranking.mistakes import ranking_findings

        return ranking_findings(self, answers, examples)
