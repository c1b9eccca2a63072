"""The choices of question answering: where the answer starts, and where it ends, among the tokens and "no answer"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.metrics.calibration import softmax
from manyheads.tasks.base import Array, Item
from manyheads.tasks.choices import Choices
from manyheads.tasks.question_answering.example import Question, context_tokens

if TYPE_CHECKING:
    from manyheads.tasks.question_answering.task import QuestionAnswering


class AnswerChoices(Choices[Question]):
    """`(2, N + 1)`: no answer, and the N tokens of the passage in all windows."""

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
