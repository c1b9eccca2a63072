"""The training examples of one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.data.joined_examples import JoinedExamples
    from manyheads.data.rehearsal import MixedStream
    from manyheads.data.stream import Stream
    from manyheads.data.table import ExampleTable
    from manyheads.tasks.base import Task
    from manyheads.training.soft_labels import SoftLabels


@dataclass(frozen=True, slots=True)
class Feed:
    """Training examples of one task, drawn by index in the order of its stream.

    An example is a row of the table, or neighbouring rows joined (`data/joined_examples.py`).
    """

    task: Task[Any]
    table: ExampleTable[Any]
    stream: Stream | MixedStream
    examples: JoinedExamples
    soft_labels: SoftLabels | None = None
    """Soft labels of each example; None where the task has no teacher."""
    rows_per_epoch: int = 0
    """Rows in an epoch: fewer than those of the table where old rows take turns."""

    def example(self, index: int) -> Any:
        """The example of an index, as the task reads it."""
        rows = [self.table[row] for row in self.examples.rows(index)]
        return rows[0] if len(rows) == 1 else self.task.concatenate(rows)

    def rows(self, indices: Sequence[int]) -> list[int]:
        """The rows of the table that examples are made of."""
        return [row for index in indices for row in self.examples.rows(index)]
