"""Learning from a teacher: what it says of an example as arrays, and the loss against that. Hinton et al. 2015.

A task that can be taught gives its `Distillation`; training asks it, and knows no task type by name.

Decided here:
- Soft labels are in the student's own terms (the order of its labels, its words, offsets of the text) as soon as they are
  made, so that whatever a teacher's tokenizer, windows and order of labels are, nothing behind knows of them.
- The temperature is 1, for teacher and student alike: a head is taught the probabilities that its own loss is about, and
  the two losses can be blended. A model's calibration plays no part; scores of a file are taken as they stand.
- Losses are cross entropies, not divergences: their gradients are equal, and a blend with gold labels stays in one unit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from manyheads.errors import RowError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from manyheads.tasks.base import Item, Loss, Row, Task
    from manyheads.text.pack import Encoding

Soft = Mapping[str, "npt.NDArray[np.float32]"]
"""What a teacher says of one example, as float32 arrays by name."""

ExampleT = TypeVar("ExampleT")


class Distillation(ABC, Generic[ExampleT]):
    """How a fitted task learns from a teacher."""

    @property
    @abstractmethod
    def terms(self) -> Any:
        """What soft labels depend on besides the teacher and the example, as JSON: kept ones serve any task with the same."""

    @abstractmethod
    def check_teacher(self, teacher: Task[Any]) -> None:
        """Raise DataError unless a head of the same type answers what this one does, showing both lists of labels."""

    @abstractmethod
    def unlabelled(self, row: Row) -> ExampleT:
        """A row that has no label of its own. Raises RowError."""

    @abstractmethod
    def of_model(self, teacher: Task[Any], example: ExampleT, items: Sequence[Item]) -> Soft:
        """What a teacher says, from the outputs of its head on each of the example's sources."""

    @abstractmethod
    def of_row(self, row: Row, example: ExampleT) -> Soft:
        """What a row of a file of soft labels says of an example with its texts. Raises RowError."""

    @abstractmethod
    def targets(
        self,
        examples: Sequence[ExampleT],
        encodings: Sequence[Sequence[Sequence[Encoding]]],
        softs: Sequence[Soft],
    ) -> dict[str, npt.NDArray[Any]]:
        """Arrays that `loss` needs, laid as those of `Task.targets`."""

    @abstractmethod
    def denominator(self, targets: Mapping[str, npt.NDArray[Any]]) -> float:
        """Over what `loss` is a mean, as `Task.denominator` has it."""

    @abstractmethod
    def loss(self, output: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]) -> Loss:
        """The loss against the teacher, with the loss of an uninformed head."""


def answer_of(row: Row, name: str, key: str) -> Any:
    """A key of a row of soft labels: its own, or that of the task's answer in a row that `predict` wrote. Raises RowError."""
    if row.get(key) is not None:
        return row[key]
    answers = row.get("tasks")
    answer = answers.get(name) if isinstance(answers, Mapping) else None
    if isinstance(answer, Mapping) and answer.get(key) is not None:
        return answer[key]
    if answer is not None and not isinstance(answer, Mapping):
        return answer
    raise RowError(f"has no '{key}'; give it, or the answer of `manyheads predict --keep` under 'tasks' as '{name}'")


def probability(value: Any, what: str) -> float:
    """A number from 0 to 1. Raises RowError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise RowError(f"{what} must be a number from 0 to 1, seen {value!r:.80}")
    return float(value)


def listed(labels: Sequence[str]) -> str:
    """Labels for a message."""
    return ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")


def other_labels(own: Sequence[str], seen: Sequence[str]) -> str | None:
    """In which way a teacher's labels are not those of a task; None where they are, in any order."""
    if set(own) == set(seen):
        return None
    lacking, more = sorted(set(own) - set(seen)), sorted(set(seen) - set(own))
    differs = [f"it lacks {listed(lacking)}"] if lacking else []
    differs += [f"only it has {listed(more)}"] if more else []
    return (f"it has other labels than the task: the teacher's are {listed(sorted(seen))}; the task's are "
            f"{listed(sorted(own))} ({'; '.join(differs)})")  # fmt: skip
