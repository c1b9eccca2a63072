"""Learning from a teacher: its soft labels as arrays, and the loss against them. Hinton et al. 2015.

A task that can be taught returns its `Distillation`; training uses that, and knows no task type by name.

Decided here:
- Soft labels are converted to the student's terms (the order of its labels, its words, offsets of the text) at once, so
  later code does not depend on the teacher's tokenizer, windows or order of labels.
- The temperature is 1 for teacher and student: a head learns the probabilities that its own loss is about, and the two
  losses can be blended. The calibration of the teacher is ignored; scores in a file are used as given.
- Losses are cross entropies, not divergences: the gradients are equal, and a blend with gold labels has one unit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from manyheads.errors import RowError
from manyheads.tasks.labels import renamed_outputs

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from manyheads.tasks.base import Array, Encodings, Item, Loss, Row, Task

Soft = Mapping[str, "npt.NDArray[np.float32]"]
"""Soft labels of one example, as float32 arrays by name."""

ExampleT = TypeVar("ExampleT")

KEPT: Mapping[str, str | None] = {}
"""No label has another name."""


class Distillation(ABC, Generic[ExampleT]):
    """How a fitted task learns from a teacher."""

    targets_on_cpu: ClassVar[frozenset[str]] = frozenset()
    """As `Task.targets_on_cpu`, for the targets here."""

    @property
    @abstractmethod
    def terms(self) -> Any:
        """What soft labels depend on besides teacher and example, as JSON; stored ones are reused for equal terms."""

    @abstractmethod
    def check_teacher(self, teacher: Task[Any]) -> None:
        """Raise DataError, showing both lists of labels, unless the teacher's head answers what this task does."""

    @abstractmethod
    def unlabelled(self, row: Row) -> ExampleT:
        """Parse a row without gold label. Raises RowError."""

    @abstractmethod
    def of_model(
        self, teacher: Task[Any], example: ExampleT, items: Sequence[Item], became: Mapping[str, str | None] = KEPT
    ) -> Soft:
        """Soft labels from the outputs of a teacher's head on each source of the example.

        `became`: the task's names of the teacher's labels, where they differ; None for those that the task dropped.
        """

    @property
    def completes(self) -> bool:
        """Whether an example may have more labels than its data names, which `completed` adds."""
        return False

    def completed(self, example: ExampleT, soft: Soft, labels: Collection[str]) -> ExampleT:
        """The example with those of these labels that the teacher is sure of, for data that does not annotate them."""
        return example

    def rows_of_texts(self, texts: Sequence[str]) -> Sequence[Row]:
        """Rows without gold labels made of texts of other tasks; none if the task reads something else."""
        return [{"text": text} for text in texts]

    @abstractmethod
    def of_row(self, row: Row, example: ExampleT) -> Soft:
        """Soft labels from a row of a file, for the example with the same texts. Raises RowError."""

    @abstractmethod
    def targets(self, examples: Sequence[ExampleT], encodings: Encodings, softs: Sequence[Soft]) -> dict[str, Array]:
        """Arrays for `loss`, laid out like those of `Task.targets`."""

    @abstractmethod
    def denominator(self, targets: Mapping[str, Array]) -> float:
        """What `loss` is a mean over; see `Task.denominator`."""

    @abstractmethod
    def loss(self, output: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]) -> Loss:
        """The loss against the teacher, with its chance loss."""


def answer_of(row: Row, name: str, key: str) -> Any:
    """A key of the task's answer in a row written by `predict`, or else of the row itself. Raises RowError.

    Answers go first: beside them, the key may hold the gold label.
    """
    answers = row.get("tasks")
    answer = answers.get(name) if isinstance(answers, Mapping) else None
    if isinstance(answer, Mapping):
        answer = answer.get(key)
    if answer is None:
        answer = row.get(key)
    if answer is None:
        raise RowError(f"has no '{key}'; give it, or the answer of `manyheads predict --keep` under 'tasks' as '{name}'")
    return answer


def probability(value: Any, what: str) -> float:
    """A number from 0 to 1. Raises RowError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise RowError(f"{what} must be a number from 0 to 1, seen {value!r:.80}")
    return float(value)


def listed(labels: Sequence[str]) -> str:
    """The first labels, for a message."""
    return ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")


def aligned(chance_XJ: Array, teacher: Task[Any], task: Task[Any], became: Mapping[str, str | None]) -> Array:
    """Probabilities of a teacher's outputs as those of a task, `(..., K)`: renamed, added up, or left out."""
    place = {name: k for k, name in enumerate(task.output_names)}
    moved_JK = np.zeros((chance_XJ.shape[-1], len(place)))
    for j, name in enumerate(renamed_outputs(teacher, task, became)):
        if name in place:
            moved_JK[j, place[name]] = 1.0
    return chance_XJ @ moved_JK


def label_mismatch(own: Sequence[str], seen: Sequence[str], noun: str = "labels") -> str | None:
    """How a teacher's labels differ from those of a task; None if they are the same in any order."""
    if set(own) == set(seen):
        return None
    lacking, more = sorted(set(own) - set(seen)), sorted(set(seen) - set(own))
    differs = [f"it lacks {listed(lacking)}"] if lacking else []
    differs += [f"only it has {listed(more)}"] if more else []
    return (f"it has other {noun} than the task: the teacher's are {listed(sorted(seen))}; the task's are "
            f"{listed(sorted(own))} ({'; '.join(differs)})")  # fmt: skip
