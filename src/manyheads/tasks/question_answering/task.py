"""Extractive question answering: the span of a passage that answers a question, or no answer.

The question comes first; the passage is read in windows that overlap by `doc_stride` tokens. `training.py` has the targets
and the loss, `decoding.py` finds spans, `scores.py` has metrics, calibration and the threshold of no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt

from manyheads.errors import RowError
from manyheads.tasks.base import (
    SPAN,
    AnswerForm,
    AnswerType,
    DataStatistics,
    EncoderInput,
    ExampleWarning,
    Level,
    Row,
    Task,
    text_of,
)
from manyheads.tasks.question_answering import decoding, scores, training
from manyheads.tasks.question_answering.example import Found, Question, question_text, read_question
from manyheads.tasks.scored import ScoredSpans, round_scores
from manyheads.tasks.settings import DERIVED, Doc, Dropout, Stride
from manyheads.text.pack import Source

if TYPE_CHECKING:
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.choices import Choices
    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import StockClass

UNANSWERABLE = "unanswerable"


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(ScoredSpans, Task[Question]):
    """SQuAD v1 and v2: start and end scores for each token."""

    kind: ClassVar[str] = "question-answering"
    main_metric: ClassVar[str] = "f1"
    metric_names: ClassVar[tuple[str, ...]] = (
        "exact_match", "f1", "has_answer_exact_match", "has_answer_f1", "no_answer_exact_match", "no_answer_f1",
    )  # fmt: skip
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("question", "context", "answers"), ("question", "context", "answer"),
    )  # fmt: skip
    optional_columns: ClassVar[tuple[str, ...]] = ("answer_start", "is_impossible", "title")
    answer_form: ClassVar[AnswerForm] = "passages"
    pipeline_tag: ClassVar[str | None] = "question-answering"
    cluster_noun: ClassVar[str] = "articles"
    targets_on_cpu: ClassVar[frozenset[str]] = frozenset({"longest"})

    doc_stride: Stride = 64
    """Tokens by which neighbouring windows of a passage overlap."""
    max_answer_length: Annotated[int, Gt(0), Doc("tokens")] = 30
    """The longest answer, in tokens."""
    n_best: Annotated[int, Gt(0), Doc("best spans that are kept, among which an answer is scored")] = 20
    """Number of best spans over which probabilities are computed."""
    top: Annotated[int, Gt(0), Doc("answers listed per row")] = 1
    """Number of answers listed in an output row."""
    dropout: Dropout = 0.1
    no_answer: Annotated[bool, DERIVED] = False
    """Whether the training data has unanswerable questions."""
    no_answer_threshold: Annotated[float, DERIVED] = 0.5
    """No answer is given if `no_answer_score` is above this; tuned on validation data."""

    @property
    def choices(self) -> Choices[Question]:
        """Where the answer starts and ends."""
        from manyheads.tasks.question_answering.choices import AnswerChoices

        return AnswerChoices(self)

    @property
    def distillation(self) -> Distillation[Question]:
        """By distributions of start and end."""
        from manyheads.tasks.question_answering.distillation import SpanDistillation

        return SpanDistillation(self)

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Start and end scores per token."""
        return {"start_T": "token", "end_T": "token"}

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> Question:
        """`question`, `context`, `answers` [{"text", "start"}], optional `id`, `title`, `is_impossible`."""
        return read_question(row)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: {"question": ..., "answers": [...]}}`; the row's text is the context."""
        if not isinstance(target, Mapping):
            raise RowError(f"target '{self.name}' must be an object with 'question' and 'answers', seen {target!r}")
        return {"id": row.get("id"), "question": row.get("question"), "context": text_of(row), **target}

    def collect(self, example: Question) -> DataStatistics:
        """Counts of answerable and unanswerable questions."""
        kind = "answerable" if example.answers else UNANSWERABLE
        return DataStatistics({kind: 1}, frozenset([kind]))

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """High: answers with their places are for nothing else."""
        return 0.9

    def fit(self, statistics: DataStatistics) -> QuestionAnswering:
        """Model `no answer` if the training data has unanswerable questions."""
        return replace(self, no_answer=self.no_answer or UNANSWERABLE in statistics.flags)

    def example_warnings(self, example: Question) -> Sequence[ExampleWarning]:
        """Answers without offsets that their context has several times."""
        if not example.ambiguous:
            return ()
        return [ExampleWarning("answers without an offset are in several places of their context", repr(example.ambiguous),
                               "the first place is used; give the offset as 'answer_start'")]  # fmt: skip

    def cluster(self, example: Question) -> str:
        """The article, or else the context."""
        return example.title if example.title else example.context

    def subcluster(self, example: Question) -> str:
        """The context."""
        return example.context

    # -- encoding -----------------------------------------------------------------------------------------------
    def sources_of_example(self, example: Question) -> Sequence[EncoderInput]:
        """Question and context as a pair."""
        return [EncoderInput(Source(example.question, example.context, stride=self.doc_stride))]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`question` with `context` or `text`; None without a question."""
        if row.get("question") is None:
            return None
        question, context = question_text(row["question"]), row.get("context")
        if context is not None and not isinstance(context, str):
            raise RowError(f"'context' must be a string, seen {type(context).__name__}")
        return EncoderInput(Source(question, text_of(row) if context is None else context, stride=self.doc_stride))

    # -- training, answering, scoring -----------------------------------------------------------------------------
    def build_head(self, width: int) -> nn.Module:
        """Dropout and a linear layer to two scores per token."""
        from manyheads.nn.heads import SpanHead

        return SpanHead(width, self.dropout)

    targets = training.targets
    denominator = training.denominator
    loss = training.loss

    decode = decoding.decode

    def answer_keys(self, answer: Found) -> dict[str, Any]:
        """The best answers; beside them `no_answer_score`, if unanswerable questions are modelled."""
        keys: dict[str, Any] = {self.name: round_scores(self.given_spans(answer))}
        if answer.no_answer is not None:
            keys["no_answer_score"] = round(answer.no_answer, 6)
        return keys

    @property
    def answer_types(self) -> dict[str, AnswerType]:
        """Spans, and the score of no answer."""
        return {self.name: [SPAN], "no_answer_score": "float"}

    def given_spans(self, answer: Found) -> Sequence[dict[str, Any]]:
        """The spans to answer with: the best ones, or none above the threshold of no answer."""
        if answer.no_answer is not None and answer.no_answer > self.no_answer_threshold:
            return ()
        return answer.spans[: self.top]

    def threshold_notes(self) -> list[str]:
        """The threshold above which no answer is given."""
        if not self.no_answer:
            return []
        return [f"no answer is given if no_answer_score is above {self.no_answer_threshold:.4g}"]

    score = scores.score
    evidence = scores.evidence
    degenerate_reason = scores.degenerate_reason
    chance = scores.chance
    calibrate = scores.calibrate
    recalibrate = scores.recalibrate

    # -- files, reports, other tools ------------------------------------------------------------------------------
    @classmethod
    def matches_entry(cls, entry: Any) -> bool | None:
        """A list of spans without labels, or gold `answers`."""
        first = entry[0] if isinstance(entry, list) and entry else None
        gold = isinstance(entry, Mapping) and "answers" in entry
        return None if entry == [] else gold or (isinstance(first, Mapping) and "label" not in first)

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """`answer`, the best of all; gold unchanged."""
        if isinstance(entry, Mapping):
            return {"text_a": row.get("text"), **entry}
        best = entry[0] if isinstance(entry, list) and entry else {"text": ""}
        return {"answer": best.get("text") if isinstance(best, Mapping) else best}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """Exact match and F1; a question without a prediction is wrong."""
        from manyheads.tasks.question_answering.file_scores import score_answers

        return score_answers(golds, guesses)

    def findings(self, answers: Sequence[Sequence[Any]], examples: Sequence[Question]) -> Sequence[Part]:
        """Outcomes, and the most confident mistakes."""
        from manyheads.tasks.question_answering.mistakes import answer_findings

        return answer_findings(self, answers, examples)

    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """For any family of encoders."""
        from manyheads.tasks.question_answering.stock import stock_class

        return stock_class(self, head, family, width)
