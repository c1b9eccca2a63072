"""Question answering taught by a teacher's distributions of where an answer starts and ends.

Decided here:
- A distribution is over offsets of the passage and "no answer", whatever tokens and windows it came from. A window of the
  student has the part that lies in it; the rest is on its first token, which says that the answer is not here.
- Over the teacher's windows the best score of an offset counts, and of "no answer" the lowest, as its decoder has it.
- What a teacher gives less than 1 in 10,000 is left out: a distribution then is a few numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import softmax
from manyheads.tasks.base import Array, Item, Loss, Output, Row, Task
from manyheads.tasks.distillation import Distillation, Soft, answer_of, probability

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.question_answering.task import Question, QuestionAnswering
    from manyheads.text.pack import Encoding

LEAST = 1e-4
CONTEXT = 1
"""The passage is the second part of the pair."""


class SpanDistillation(Distillation["Question"]):
    """Mean cross entropy of start and end: `start_N2` and `end_N2`, offsets with their probabilities; the rest is none."""

    def __init__(self, task: QuestionAnswering) -> None:
        self.task = task

    @property
    def terms(self) -> Any:
        """Nothing."""
        return None

    def check_teacher(self, teacher: Task[Any]) -> None:
        """It knows unanswerable questions where the task has some."""
        if self.task.no_answer and not getattr(teacher, "no_answer", False):
            raise DataError("the teacher was trained on questions that all have answers, and the training data has "
                            "unanswerable ones")  # fmt: skip

    def unlabelled(self, row: Row) -> Question:
        """`question`, with `context` or `text`."""
        context = row.get("context") if row.get("context") is not None else row.get("text")
        plain = {key: row.get(key) for key in ("question", "id", "title")}
        return self.task.read({**plain, "context": context, "answers": []})

    def of_model(self, teacher: Task[Any], example: Question, items: Sequence[Item]) -> Soft:
        """Each over all windows."""
        return {"start_N2": _distribution(items[0], "start_T"), "end_N2": _distribution(items[0], "end_T")}

    def of_row(self, row: Row, example: Question) -> Soft:
        """`answers`, each with `start`, `end` (or `text`) and `score`; with `no_answer_score` they share what that leaves."""
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

    def targets(
        self,
        examples: Sequence[Question],
        encodings: Sequence[Sequence[Sequence[Encoding]]],
        softs: Sequence[Soft],
    ) -> dict[str, Array]:
        """`row_C`, the window of each cell, and `start_C`, `end_C`, beside what `QuestionAnswering.targets` says of cells."""
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
        """Windows."""
        return float(len(targets["chance_S"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Of each window; the chance loss is log(tokens to choose from) of each."""
        windows, longest = len(targets["chance_S"]), int(targets["longest"])
        values = []
        for key, chance_C in (("start_T", targets["start_C"]), ("end_T", targets["end_C"])):
            score_T = output[key]
            flat = score_T.new_full((windows * longest,), float("-inf"))
            flat = flat.index_copy(0, targets["cell_C"], score_T[targets["token_C"]])
            log_C = flat.view(windows, longest).log_softmax(-1).flatten()[targets["cell_C"]]
            values.append(log_C.new_zeros(windows).index_add(0, targets["row_C"], -chance_C.to(log_C.dtype) * log_C))
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
    """Probabilities of the first token and of those of the passage, as places where an answer starts, and ends."""
    place_N = np.flatnonzero(window.part_L == CONTEXT)
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
    """The probability that there is no answer, where a row says so."""
    answers = row.get("tasks")
    value = row.get("no_answer_score")
    if value is None and isinstance(answers, Mapping):
        value = answers.get("no_answer_score")
    return None if value is None else probability(value, "'no_answer_score'")
