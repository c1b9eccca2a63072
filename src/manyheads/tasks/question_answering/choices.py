"""The choices of question answering: where the answer starts, and where it ends, among the tokens and "no answer".

Decided here: to review an answer, its probability (that of its start times that of its end) is compared with those of no
answer and of the best other one. Confident learning compares labels that many examples have, so it can only suspect that
there is an answer, or none; another answer is suspected if it has more than half of the probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from manyheads.metrics.calibration import softmax
from manyheads.tasks.base import Array, Item
from manyheads.tasks.choices import Choices, Doubt, Judged
from manyheads.tasks.question_answering.example import Question, context_tokens

if TYPE_CHECKING:
    from manyheads.tasks.question_answering.task import QuestionAnswering


NONE, GIVEN, OTHER = range(3)
"""Alternatives in reviews: no answer, one of the given answers, another answer."""
SURE = 0.5
"""Probability of another answer, above which the given one is suspected."""
Span = tuple[int, int]


class AnswerChoices(Choices[Question]):
    """`(2, N + 1)`: no answer, and the N tokens of the passage in all windows."""

    reviews: ClassVar[bool] = True
    needs_trained_encoder: ClassVar[bool] = True

    def __init__(self, task: QuestionAnswering) -> None:
        self.task = task

    def probabilities(self, items: Sequence[Item]) -> list[Array]:
        """Softmax over all windows, with the task's temperature; the lowest score of "no answer" counts, as in answers."""
        return [np.stack([self._over(item, key) for key in ("start_T", "end_T")]) for item in items]

    def _over(self, item: Item, key: str) -> Array:
        score_N = [output[key][context_tokens(window)] for window, output in zip(item.encodings, item.outputs, strict=True)]
        none = min(float(output[key][0]) for output in item.outputs)
        return softmax(np.concatenate([[none], *score_N]).astype(np.float64) / self.task.temperature)

    def describe(self, item: Item, chance_K: Array, choice: int) -> str:
        """The best answer with its score."""
        (found,) = self.task.decode([item])
        best = max(found.spans, key=lambda span: span["score"], default=None)
        return "no answer" if best is None else f"answer {best['text']!r:.60} {best['score']:.2f}"

    def compared(self, example: Question, item: Item) -> Array:
        """`(1, 3)`: the probabilities of no answer, of the given answers together, and of the best other one.

        For a question without an answer any answer is as good as another, so the best one is in the place of the given ones.
        """
        given, other = self._spans(example, item)
        chances = self._chances(item, [*given, *([other] if other else [])])
        rest = chances[-1] if other else 0.0
        none = float(np.prod([self._over(item, key)[0] for key in ("start_T", "end_T")]))
        return np.array([[none, sum(chances[: len(given)]), rest] if given else [none, rest, 0.0]])

    def gold(self, example: Question, item: Item) -> Array:
        """Whether there is an answer."""
        return np.array([GIVEN if example.answers else NONE])

    def doubts(self, judged: Judged[Question]) -> list[Doubt]:
        """One for each question."""
        example, (none, given, rest) = judged.example, judged.chance_UK[0].tolist()
        spans, other = self._spans(example, judged.item)
        gold = spans[int(np.argmax(self._chances(judged.item, spans)))] if spans else None
        best = int(judged.chance_UK[0].argmax())
        better = {NONE: None, GIVEN: gold or other, OTHER: other}[best]
        kind = _kind(gold, better)
        suspected = bool(judged.suspected_U[0]) or (best == OTHER and rest > SURE)
        chances = {"no answer": none, "labelled": given if gold else none, "suggested": max(none, given, rest)}
        place = [span for span in (gold, better) if span is not None]
        whole = (min(start for start, _ in place), max(end for _, end in place)) if place else None
        one, two = (_answer(example, span) for span in (gold, better))
        return [Doubt(given if gold else none, kind, one, two, chances, suspected, whole)]

    def text(self, example: Question) -> str:
        """The passage, and the question after it."""
        return f"{example.context} ∥ {example.question}"

    def _spans(self, example: Question, item: Item) -> tuple[list[Span], Span | None]:
        """The given answers, each once, and the best other one."""
        given = sorted({(start, start + len(text)) for start, text in example.answers})
        (found,) = self.task.decode([item])
        others = ((int(one["start"]), int(one["end"])) for one in found.spans)
        return given, next((span for span in others if span not in given), None)

    def _chances(self, item: Item, spans: Sequence[Span]) -> list[float]:
        """The probability of each span: that of its start times that of its end, each in any window."""
        tokens = [context_tokens(window) for window in item.encodings]
        start_N, end_N = (
            np.concatenate([getattr(window, name)[kept] for window, kept in zip(item.encodings, tokens, strict=True)])
            for name in ("start_L", "end_L")
        )
        begin_N, stop_N = (self._over(item, key)[1:] for key in ("start_T", "end_T"))
        return [float(begin_N[(start_N <= start) & (start < end_N)].sum() * stop_N[(start_N < end) & (end <= end_N)].sum())
                for start, end in spans]  # fmt: skip


def _kind(gold: Span | None, better: Span | None) -> str:
    """What is wrong with an answer, if another one is better."""
    if gold == better:
        return ""
    if gold is None or better is None:
        return "missed" if gold is None else "spurious"
    return "wrong boundary" if gold[0] < better[1] and better[0] < gold[1] else "wrong answer"


def _answer(example: Question, span: Span | None) -> dict[str, Any] | None:
    if span is None:
        return None
    start, end = span
    return {"start": start, "end": end, "label": "answer", "text": example.context[start:end]}
