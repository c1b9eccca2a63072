"""Regression learned from a teacher's numbers, by the task's own squared error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import DataError
from manyheads.tasks.answers import Numbers
from manyheads.tasks.base import Array, Encodings, Item, Loss, Output, Row, Task
from manyheads.tasks.distillation import KEPT, Distillation, Soft, answer_of, label_mismatch
from manyheads.tasks.inputs import window_weights
from manyheads.tasks.pooled import Text, document_of, text_and_pair

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.text_regression import TextRegression


class NumberDistillation(Distillation[Text[Numbers]]):
    """Soft labels are `number_K`, standardised like the task's gold numbers, whatever the scale of the teacher's head."""

    def __init__(self, task: TextRegression) -> None:
        self.task = task

    @property
    def terms(self) -> Any:
        """Mean and deviation of each number."""
        return self.task.describe()["standards"]

    def check_teacher(self, teacher: Task[Any]) -> None:
        """The same numbers."""
        if problem := label_mismatch(self.task.output_names, teacher.output_names, "numbers"):
            raise DataError(problem)

    def unlabelled(self, row: Row) -> Text[Numbers]:
        """`text`, and `text_pair` if present."""
        return Text(*text_and_pair(row), {}, document_of(row))

    def of_model(
        self, teacher: Task[Any], example: Text[Numbers], items: Sequence[Item], became: Mapping[str, str | None] = KEPT
    ) -> Soft:
        """The numbers it answers."""
        return self._soft(example, teacher.decode(items)[0])

    def of_row(self, row: Row, example: Text[Numbers]) -> Soft:
        """`value`, or `values` by name."""
        key = "value" if self.task.output_names == ("value",) else "values"
        return self._soft(example, {key: answer_of(row, self.task.name, key)})

    def _soft(self, example: Text[Numbers], answer: Row) -> Soft:
        numbers = self.task.read_gold(answer)
        return {"number_K": self.task.gold_array([Text(example.text, example.pair, numbers)])[0]}

    def targets(
        self, examples: Sequence[Text[Numbers]], encodings: Encodings, softs: Sequence[Soft]
    ) -> dict[str, Array]:
        """Those of the task, with the teacher's numbers as `gold`."""
        owner_S, share_S = window_weights([asked[0] for asked in encodings])
        return {"owner_S": owner_S, "share_S": share_S, "gold": np.stack([soft["number_K"] for soft in softs])}

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of texts."""
        return self.task.denominator(targets)

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """That of the task."""
        return self.task.loss(output, targets)
