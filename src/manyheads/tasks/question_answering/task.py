"""Extractive question answering: the span of a passage that answers a question, or the statement that none does.

Decided here:
- The question comes first, the passage is read in windows that overlap by `doc_stride` tokens; a window without the
  answer is trained to point at its first (CLS) token, as in Devlin 2018.
- All spans up to `max_answer_length` tokens of all windows compete (no pruning to n-best starts and ends: the band of
  30 lengths is one array operation per length); the same span seen by two windows counts once, at its better score.
- No answer: `no_answer_score` is the logistic of (lowest CLS score over windows - best span score), and the threshold on
  it is tuned for F1 on validation data (Rajpurkar 2018).
- The score of a span is the chance that it is right word for word: its share of the probability of the n best spans and of
  no answer, on a scale fitted on validation data (`metrics/calibration.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt

from manyheads.errors import RowError
from manyheads.metrics.answers import answer_scores, best_threshold, exact_match, f1
from manyheads.metrics.calibration import expected_calibration_error, fitted_scale
from manyheads.metrics.evidence import Tally, grouped
from manyheads.tasks.base import (
    SPAN,
    AnswerForm,
    AnswerType,
    Array,
    DataStatistics,
    EncoderInput,
    Item,
    Level,
    Loss,
    Output,
    Row,
    Task,
    text_of,
)
from manyheads.tasks.scored import ScoredSpans, rounded
from manyheads.tasks.settings import SETTLED, Doc, Dropout, Stride
from manyheads.text.pack import Source
from manyheads.text.values import key_of, truth

if TYPE_CHECKING:
    import torch
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import StockClass
    from manyheads.text.pack import Encoding

UNANSWERABLE = "unanswerable"
CONTEXT = 1
"""The passage is the second part of the pair."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question over a context; `answers` are `(start, text)`, none if it cannot be answered."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[int, str], ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The n best spans, best first, and the probability-like score that there is no answer (None: not modelled)."""

    spans: tuple[dict[str, Any], ...]
    no_answer: float | None


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(ScoredSpans, Task[Question]):
    """SQuAD v1 and v2: start and end scores for each token."""

    kind: ClassVar[str] = "question-answering"
    main_metric: ClassVar[str] = "f1"
    metric_names: ClassVar[tuple[str, ...]] = (
        "exact_match", "f1", "has_answer_exact_match", "has_answer_f1", "no_answer_exact_match", "no_answer_f1",
    )  # fmt: skip
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("question", "context", "answers"),)
    answer_form: ClassVar[AnswerForm] = "passages"
    cluster_noun: ClassVar[str] = "articles"

    doc_stride: Stride = 64
    """Tokens by which neighbouring windows of a passage overlap."""
    max_answer_length: Annotated[int, Gt(0), Doc("tokens")] = 30
    """Tokens."""
    n_best: Annotated[int, Gt(0), Doc("best spans that are kept, among which an answer is scored")] = 20
    """Spans that are kept for scores; the answer given is the best."""
    top: Annotated[int, Gt(0), Doc("answers listed per row")] = 1
    """How many answers an output row lists."""
    dropout: Dropout = 0.1
    no_answer: Annotated[bool, SETTLED] = False
    """Settled from the training data: it has unanswerable questions."""
    no_answer_threshold: Annotated[float, SETTLED] = 0.5
    """No answer is given when `no_answer_score` is above this; tuned on validation data."""

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
        question, context = row.get("question"), row.get("context")
        if not isinstance(question, str) or not question.strip():
            raise RowError("has no 'question'" if question is None else f"'question' is empty or no text: {question!r}")
        if not isinstance(context, str) or not context.strip():
            raise RowError(
                "has no 'context'" if context is None else "has an empty 'context'; there is nothing to search"
            )
        given = row.get("answers")
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise RowError(f"'answers' must be a list of {{text, start}} (empty: unanswerable), seen {given!r}")
        impossible = truth(row.get("is_impossible"), "is_impossible")
        if impossible is not None and impossible == bool(given):
            raise RowError(f"has is_impossible: {row['is_impossible']!r} and {len(given)} answers; correct one of them (an "
                           "unanswerable question has no answers)")  # fmt: skip
        answers = tuple(_checked_answer(context, answer) for answer in given)
        return Question(key_of(row.get("id"), "id"), question, context, answers, key_of(row.get("title"), "title"))

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: {"question": ..., "answers": [...]}}`; the row's text is the context."""
        if not isinstance(target, Mapping):
            raise RowError(f"target '{self.name}' must be an object with 'question' and 'answers', seen {target!r}")
        return {"id": row.get("id"), "question": row.get("question"), "context": text_of(row), **target}

    def collect(self, example: Question) -> DataStatistics:
        """Answerable and unanswerable questions."""
        kind = "answerable" if example.answers else UNANSWERABLE
        return DataStatistics({kind: 1}, frozenset([kind]))

    def fit(self, statistics: DataStatistics) -> QuestionAnswering:
        """Models `no answer` when the training data has unanswerable questions."""
        return replace(self, no_answer=UNANSWERABLE in statistics.flags)

    def validate(self, example: Question) -> None:
        """Any question can be scored."""

    def cluster(self, example: Question) -> str:
        """The article, or else the context."""
        return example.title if example.title else example.context

    def passage(self, example: Question) -> str:
        """The context."""
        return example.context

    # -- encoding -----------------------------------------------------------------------------------------------
    def sources_of_example(self, example: Question) -> Sequence[EncoderInput]:
        """Question and context as a pair."""
        return [EncoderInput(Source(example.question, example.context, stride=self.doc_stride))]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`question` with `context` or `text`; None without a question."""
        question = row.get("question")
        if question is None:
            return None
        if not isinstance(question, str) or not question.strip():
            raise RowError(f"'question' is empty or no text: {question!r}")
        context = row.get("context")
        if context is not None and not isinstance(context, str):
            raise RowError(f"'context' must be a string, seen {type(context).__name__}")
        return EncoderInput(Source(question, text_of(row) if context is None else context, stride=self.doc_stride))

    # -- training -----------------------------------------------------------------------------------------------
    def build_head(self, width: int) -> nn.Module:
        """Dropout and a linear layer to two scores a token."""
        from manyheads.nn.heads import SpanHead

        return SpanHead(width, self.dropout)

    def targets(
        self, examples: Sequence[Question], encodings: Sequence[Sequence[Sequence[Encoding]]]
    ) -> dict[str, Array]:
        """`cell_C` places in an (S, longest) rectangle of the tokens `token_C` that may be pointed at; gold columns."""
        windows = [(example, window) for example, asked in zip(examples, encodings, strict=True) for window in asked[0]]
        longest = max(len(window) for _, window in windows)
        token_C, cell_C, gold = [], [], []
        base = 0
        for row, (example, window) in enumerate(windows):
            allowed = np.flatnonzero(window.part_L == CONTEXT)
            allowed = np.concatenate([[0], allowed])
            token_C.append(allowed + base)
            cell_C.append(allowed + row * longest)
            gold.append(_gold_tokens(example, window))
            base += len(window)
        return {
            "token_C": np.concatenate(token_C),
            "cell_C": np.concatenate(cell_C),
            "start_S": np.array([start for start, _ in gold], np.int64),
            "end_S": np.array([end for _, end in gold], np.int64),
            "longest": np.array([longest], np.int64),
            "chance_S": np.array([np.log(max(len(t), 2)) for t in token_C], np.float32),
        }

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Windows."""
        return float(len(targets["start_S"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """For each window, the mean cross entropy of start and end; the chance loss is log(tokens to choose from).

        Windows differ in it, so the normaliser divides each window's loss before it takes the mean.
        """
        from torch.nn.functional import cross_entropy

        windows = len(targets["start_S"])
        longest = int(targets["longest"])
        losses = []
        for key, gold_S in (("start_T", targets["start_S"]), ("end_T", targets["end_S"])):
            score_T = output[key]
            flat = score_T.new_full((windows * longest,), float("-inf"))
            flat = flat.index_copy(0, targets["cell_C"], score_T[targets["token_C"]])
            losses.append(cross_entropy(flat.view(windows, longest), gold_S, reduction="none"))
        return Loss((losses[0] + losses[1]) / 2, targets["chance_S"])

    # -- answering ----------------------------------------------------------------------------------------------
    def decode(self, items: Sequence[Item]) -> list[Found]:
        """The n best spans of each question over all its windows."""
        return [self._found(item) for item in items]

    def answer_keys(self, answer: Found) -> dict[str, Any]:
        """The best answers; `no_answer_score` beside them when the model knows unanswerable questions."""
        keys: dict[str, Any] = {self.name: rounded(self._given(answer))}
        if answer.no_answer is not None:
            keys["no_answer_score"] = round(answer.no_answer, 6)
        return keys

    @property
    def answer_types(self) -> dict[str, AnswerType]:
        """Spans, and the score of there being none."""
        return {self.name: [SPAN], "no_answer_score": "float"}

    def score(self, answers: Sequence[Sequence[Found]], examples: Sequence[Question]) -> dict[str, float]:
        """Exact match and F1 of SQuAD; on unanswerable data also `has_answer_*` and `no_answer_*`; `ece` of answers given."""
        metrics = answer_scores([[text for _, text in example.answers] for example in examples], self._texts(answers))
        scores, right = self._judged(answers, examples)
        return {**metrics, **({"ece": expected_calibration_error(scores, right)} if scores else {})}

    def chance(self, examples: Sequence[Question]) -> dict[str, float]:
        """No answer to any question, which is the commonest there is."""
        return answer_scores([[text for _, text in example.answers] for example in examples], [""] * len(examples))

    def _judged(
        self, answers: Sequence[Sequence[Found]], examples: Sequence[Question]
    ) -> tuple[list[float], list[float]]:
        """The score of each best answer that is given, and whether it is right word for word."""
        pairs = [
            (spans[0]["score"], exact_match(spans[0]["text"], [text for _, text in example.answers]))
            for answer, example in zip(answers, examples, strict=True)
            if (spans := self._given(answer[0]))
        ]
        return [score for score, _ in pairs], [right for _, right in pairs]

    def evidence(
        self, answers: Sequence[Sequence[Found]], examples: Sequence[Question], clusters: Sequence[str]
    ) -> Tally:
        """F1 of each question."""
        pairs = zip(examples, self._texts(answers), strict=True)
        counts = [[f1(text, [gold for _, gold in example.answers]), 1.0] for example, text in pairs]
        return Tally(grouped(np.array(counts), clusters), "mean")

    def shortcoming(self, answers: Sequence[Sequence[Found]], examples: Sequence[Question]) -> str | None:
        """It abstains from every question, or scores no better than if it did."""
        answerable = sum(bool(example.answers) for example in examples)
        if not answerable:
            return None
        texts, golds = self._texts(answers), [[text for _, text in example.answers] for example in examples]
        if not any(texts):
            return f"abstains from all {len(examples):,} questions, of which {answerable:,} have an answer"
        if answer_scores(golds, texts)["f1"] > answer_scores(golds, [""] * len(golds))["f1"]:
            return None
        if answerable == len(examples):
            return f"answers none of the {len(examples):,} questions right, not even in part"
        return "scores no better than abstaining from every question"

    def _texts(self, answers: Sequence[Sequence[Found]]) -> list[str]:
        """The text that each answer comes to; empty for none."""
        given = [self._given(answer[0]) for answer in answers]
        return [spans[0]["text"] if spans else "" for spans in given]

    def calibrated(self, answers: Sequence[Sequence[Found]], examples: Sequence[Question]) -> QuestionAnswering:
        """The threshold with the best F1 on these examples, and the scale of the scores of answers it then gives.

        The threshold is unchanged where all examples have answers.
        """
        settled = self._with_threshold(answers, examples)
        scores, right = settled._judged(answers, examples)
        if not scores:
            return settled
        scale = fitted_scale(self.scale.undone(np.array(scores)), right)
        return replace(settled, temperature=scale.temperature, score_bias=scale.bias)

    def restated(self, answers: Sequence[Sequence[Found]], before: Task[Question]) -> list[list[Found]]:
        """The same spans, with scores on this scale."""
        assert isinstance(before, QuestionAnswering), "the same task"
        return [
            [replace(found, spans=tuple(self.rescaled(found.spans, before.scale))) for found in answer]
            for answer in answers
        ]

    def _with_threshold(self, answers: Sequence[Sequence[Found]], examples: Sequence[Question]) -> QuestionAnswering:
        if not self.no_answer or all(example.answers for example in examples):
            return self
        threshold = best_threshold(
            [[text for _, text in example.answers] for example in examples],
            [answer[0].spans[0]["text"] if answer[0].spans else "" for answer in answers],
            [answer[0].no_answer if answer[0].no_answer is not None else 0.0 for answer in answers],
        )
        return replace(self, no_answer_threshold=float(threshold))

    def conditions(self) -> list[str]:
        """The threshold above which no answer is given."""
        if not self.no_answer:
            return []
        return [f"no answer is given where no_answer_score is above {self.no_answer_threshold:.4g}"]

    # -- files, reports, other tools ------------------------------------------------------------------------------
    @classmethod
    def holds(cls, entry: Any) -> bool | None:
        """A list of spans without labels, or gold `answers`."""
        first = entry[0] if isinstance(entry, list) and entry else None
        gold = isinstance(entry, Mapping) and "answers" in entry
        return None if entry == [] else gold or (isinstance(first, Mapping) and "label" not in first)

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """`answer`, the best of all; gold as it is."""
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
        """Outcomes, and questions of each."""
        from manyheads.tasks.question_answering.mistakes import answer_findings

        return answer_findings(self, answers, examples)

    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """Of every family."""
        from manyheads.tasks.question_answering.stock import stock_class

        return stock_class(self, head, family, width)

    def _given(self, answer: Found) -> Sequence[dict[str, Any]]:
        if answer.no_answer is not None and answer.no_answer > self.no_answer_threshold:
            return ()
        return answer.spans[: self.top]

    def _found(self, item: Item) -> Found:
        context = item.source.second or ""
        best: dict[tuple[int, int], float] = {}
        null = np.inf
        for window, output in zip(item.encodings, item.outputs, strict=True):
            start_L, end_L = output["start_T"].astype(np.float64), output["end_T"].astype(np.float64)
            null = min(null, float(start_L[0] + end_L[0]))
            for first, last, score in self._window_spans(window, start_L, end_L):
                start, end = int(window.start_L[first]), int(window.end_L[last])
                text = context[start:end]  # a token of white space alone (RoBERTa) may stand at either edge
                span = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
                if span[1] > span[0]:
                    best[span] = max(score, best.get(span, -np.inf))
        ranked = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[: self.n_best]
        scores = np.array([score for _, score in ranked] + ([null] if self.no_answer else []))
        probabilities = np.exp(scores - scores.max()) if len(scores) else scores
        probabilities = self.scale.applied(probabilities / max(float(probabilities.sum()), 1e-300))
        spans = tuple(
            {"start": start, "end": end, "text": context[start:end], "score": float(p)}
            for ((start, end), _), p in zip(ranked, probabilities, strict=False)
        )
        if not self.no_answer:
            return Found(spans, None)
        if not ranked:
            return Found((), 1.0)
        return Found(spans, float(1 / (1 + np.exp(np.clip(ranked[0][1] - null, -700, 700)))))

    def _window_spans(self, window: Encoding, start_L: np.ndarray, end_L: np.ndarray) -> list[tuple[int, int, float]]:
        """The n best (first token, last token, score) of one window."""
        place_N = np.flatnonzero(window.part_L == CONTEXT)
        count = len(place_N)
        if not count:
            return []
        lengths = min(self.max_answer_length, count)
        start_N, end_N = start_L[place_N], end_L[place_N]
        band = np.full((lengths, count), -np.inf)
        for extra in range(lengths):
            band[extra, : count - extra] = start_N[: count - extra] + end_N[extra:]
        flat = band.ravel()
        keep = min(self.n_best, int(np.isfinite(flat).sum()))
        chosen = np.argpartition(-flat, keep - 1)[:keep]
        return [
            (int(place_N[c % count]), int(place_N[c % count + c // count]), float(flat[c])) for c in chosen.tolist()
        ]


def _checked_answer(context: str, answer: Any) -> tuple[int, str]:
    if not isinstance(answer, Mapping) or "text" not in answer:
        raise RowError(f"answer {answer!r} needs 'text' and 'start'")
    text, start = answer["text"], answer.get("start", answer.get("answer_start"))
    if not isinstance(text, str) or not text.strip():
        raise RowError(f"answer text {text!r} is empty; for an unanswerable question give an empty list of answers")
    if not isinstance(start, int) or isinstance(start, bool):
        raise RowError(f"answer {text!r} has start {start!r}; give its offset in the context")
    if context[start : start + len(text)] != text or start < 0:
        elsewhere = context.find(text)
        hint = f"it stands at {elsewhere}" if elsewhere >= 0 else "it is nowhere in the context"
        raise RowError(f"answer {text!r} is not at offset {start}, where the context has "
                       f"{context[max(start, 0) : max(start, 0) + len(text)]!r}; {hint}")  # fmt: skip
    return start, text


def _gold_tokens(example: Question, window: Encoding) -> tuple[int, int]:
    """First and last token of the first answer in a window; (0, 0) when it is not wholly there."""
    if not example.answers:
        return 0, 0
    start, text = example.answers[0]
    start, end = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
    place_N = np.flatnonzero(window.part_L == CONTEXT)
    if not len(place_N):
        return 0, 0
    begin_N, finish_N = window.start_L[place_N], window.end_L[place_N]
    if begin_N[0] > start or finish_N[-1] < end:
        return 0, 0
    first = int(np.searchsorted(finish_N, start, side="right"))
    last = int(np.searchsorted(begin_N, end, side="left")) - 1
    if first >= len(place_N) or last < first:
        return 0, 0
    return int(place_N[first]), int(place_N[last])
