"""Question answering learned from a teacher's distributions of where an answer starts and ends.

Decided here:
- A distribution is over offsets of the passage and "no answer", whatever tokens and windows it came from. A window of the
  student gets the part within it; the rest goes to its first token, which means that the answer is not here.
- Over the teacher's windows, the best score of an offset counts, and the lowest of "no answer", as in its decoder.
- Probabilities below 1 in 10,000 are dropped, so that a distribution is a few numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import softmax
from manyheads.tasks.base import Array, Encodings, Item, Loss, Output, Row, Task
from manyheads.tasks.distillation import KEPT, Distillation, Soft, answer_of, probability
from manyheads.tasks.question_answering.example import CONTEXT, Question, context_tokens, read_question
from manyheads.tasks.question_answering.training import candidate_scores

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.question_answering.task import QuestionAnswering
    from manyheads.text.pack import Encoding

LEAST = 1e-4
"""Probabilities below it are dropped."""


class SpanDistillation(Distillation[Question]):
    """Mean cross entropy of start and end.

    Soft labels are `start_N2` and `end_N2`, offsets with their probabilities; the rest is "no answer".
    """

    targets_on_cpu: ClassVar[frozenset[str]] = frozenset({"longest"})

    def __init__(self, task: QuestionAnswering) -> None:
        self.task = task

    @property
    def terms(self) -> Any:
        """None: soft labels depend on no setting."""
        return None

    def check_teacher(self, teacher: Task[Any]) -> None:
        """It must model unanswerable questions if the task does."""
        if self.task.no_answer and not getattr(teacher, "no_answer", False):
            raise DataError("the teacher was trained on questions that all have answers, and the training data has "
                            "unanswerable ones")  # fmt: skip

    def unlabelled(self, row: Row) -> Question:
        """`question`, with `context` or `text`."""
        context = row.get("context") if row.get("context") is not None else row.get("text")
        plain = {key: row.get(key) for key in ("question", "id", "title")}
        return read_question({**plain, "context": context, "answers": []})

    def rows_of_texts(self, texts: Sequence[str]) -> Sequence[Row]:
        """None: texts have no questions."""
        return []

    def of_model(
        self, teacher: Task[Any], example: Question, items: Sequence[Item], became: Mapping[str, str | None] = KEPT
    ) -> Soft:
        """Start and end over all windows."""
        return {"start_N2": _distribution(items[0], "start_T"), "end_N2": _distribution(items[0], "end_T")}

    def of_row(self, row: Row, example: Question) -> Soft:
        """`answers`, each with `start`, `end` (or `text`) and `score`. They share what `no_answer_score` leaves."""
        answers = answer_of(row, self.task.name, "answers")
        if not isinstance(answers, Sequence) or isinstance(answers, str):
            raise RowError(f"'answers' must be a list of {{start, end, score}}, seen {answers!r:.80}")
        spans = [_span(answer, example.context) for answer in answers]
        total = sum(score for _, _, score in spans)
        none = _no_answer(row)
        if none is None and not total:
            raise RowError("has no answer with a score, and no 'no_answer_score'; give one of them")
        share = 0.0 if not total else (1.0 if none is None else 1.0 - none) / total
        starts: dict[int, float] = {}
        ends: dict[int, float] = {}
        for start, end, score in spans:
            starts[start] = starts.get(start, 0.0) + score * share
            ends[end] = ends.get(end, 0.0) + score * share
        return {"start_N2": _pairs(starts), "end_N2": _pairs(ends)}

    def targets(self, examples: Sequence[Question], encodings: Encodings, softs: Sequence[Soft]) -> dict[str, Array]:
        """`row_C`, the window of each cell, `start_C` and `end_C`, beside the cells of the task's own targets."""
        placed = self.task.targets(examples, encodings)
        windows = [(soft, window) for soft, asked in zip(softs, encodings, strict=True) for window in asked[0]]
        rows, starts, ends = [], [], []
        for row, (soft, window) in enumerate(windows):
            start_N, end_N = _in_window(soft, window)
            starts.append(start_N)
            ends.append(end_N)
            rows.append(np.full(len(start_N), row))
        cells = {"row_C": np.concatenate(rows).astype(np.int64), "start_C": np.concatenate(starts),
                 "end_C": np.concatenate(ends)}  # fmt: skip
        return {key: placed[key] for key in ("token_C", "cell_C", "longest", "chance_S")} | cells

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of windows."""
        return self.task.denominator(targets)

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """The loss of each window; its chance loss is log(candidate tokens)."""
        values = []
        for score_SL, key in zip(candidate_scores(output, targets), ("start_C", "end_C"), strict=True):
            log_C = score_SL.log_softmax(-1).flatten()[targets["cell_C"]]
            loss_C = -targets[key].to(log_C.dtype) * log_C
            values.append(log_C.new_zeros(len(score_SL)).index_add(0, targets["row_C"], loss_C))
        return Loss((values[0] + values[1]) / 2, targets["chance_S"])


def _distribution(item: Item, key: str) -> Array:
    """Offsets `(N, 2)` where an answer starts (or ends), with their probabilities."""
    best: dict[int, float] = {}
    none = np.inf
    for window, output in zip(item.encodings, item.outputs, strict=True):
        score_L = output[key].astype(np.float64)
        offset_L = window.start_L if key == "start_T" else window.end_L
        none = min(none, float(score_L[0]))
        place_N = np.flatnonzero((window.part_L == CONTEXT) & (window.end_L > window.start_L))
        for offset, score in zip(offset_L[place_N].tolist(), score_L[place_N].tolist(), strict=True):
            best[offset] = max(score, best.get(offset, -np.inf))
    chances = softmax(np.array([none, *best.values()]))
    kept = {offset: float(p) for offset, p in zip(best, chances[1:], strict=True) if p >= LEAST}
    total = float(chances[0]) + sum(kept.values())
    return _pairs({offset: p / total for offset, p in kept.items()} if total else {})


def _pairs(chances: Mapping[int, float]) -> Array:
    return np.array(sorted(chances.items()), np.float32).reshape(-1, 2)


def _in_window(soft: Soft, window: Encoding) -> tuple[Array, Array]:
    """Probabilities that an answer starts, and ends, at the first token and at each token of the passage."""
    place_N = context_tokens(window)
    begin_N, finish_N = window.start_L[place_N], window.end_L[place_N]
    found = []
    for key in ("start_N2", "end_N2"):
        offset_M, chance_M = soft[key][:, 0], soft[key][:, 1]
        if not len(place_N):
            found.append(np.ones(1, np.float32))
            continue
        if key == "start_N2":
            token_M = np.searchsorted(finish_N, offset_M, side="right")
        else:
            token_M = np.searchsorted(begin_N, offset_M, side="left") - 1
        here_M = (token_M >= 0) & (token_M < len(place_N)) & (offset_M >= begin_N[0]) & (offset_M <= finish_N[-1])
        chance_N = np.bincount(token_M[here_M], weights=chance_M[here_M], minlength=len(place_N))
        rest = max(0.0, 1.0 - float(chance_N.sum()))
        found.append(np.concatenate([[rest], chance_N]).astype(np.float32))
    return found[0], found[1]


def _span(answer: Any, context: str) -> tuple[int, int, float]:
    """Start, end and score of an answer. Raises RowError."""
    if not isinstance(answer, Mapping) or type(answer.get("start")) is not int:
        raise RowError(f"answer {answer!r:.80} needs 'start', 'end' and 'score'")
    if answer.get("score") is None:
        raise RowError(f"answer {answer!r:.80} has no 'score'; give the probability of each answer")
    start, text, end = answer["start"], answer.get("text"), answer.get("end")
    if end is None and isinstance(text, str):
        end = start + len(text)
    if type(end) is not int or not 0 <= start < end <= len(context):
        raise RowError(f"answer {answer!r:.80} lies outside its context of {len(context)} characters or is empty")
    if isinstance(text, str) and context[start:end] != text:
        raise RowError(
            f"answer {text!r:.80} is not at offset {start}, where the context has {context[start:end]!r:.80}"
        )
    return start, end, probability(answer["score"], "the score of an answer")


def _no_answer(row: Row) -> float | None:
    """The probability of no answer, if the row has it."""
    answers = row.get("tasks")
    value = row.get("no_answer_score")
    if value is None and isinstance(answers, Mapping):
        value = answers.get("no_answer_score")
    return None if value is None else probability(value, "'no_answer_score'")
