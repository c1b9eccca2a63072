"""The data of a run once it is read: each task with its splits, its teacher, and what became of its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from manyheads.data.table import ExampleTable, table_of_rows
from manyheads.data.validate import WindowLengths, measure
from manyheads.data.warnings import Loaded, warnings_of

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.config.labels import LabelChanges
    from manyheads.config.start_model import StartModel
    from manyheads.config.teachers import Teaching
    from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task fitted to its training data, and its checked splits."""

    task: Task[Any]
    splits: dict[str, Loaded]
    whole: ExampleTable[Any] | None = None
    """All training examples, if the validation examples were split off from them."""
    teaching: Teaching | None = None
    """The task's teacher, and the rows that only the teacher labels."""
    labels: LabelChanges | None = None
    """What became of the labels of the model that the task continues."""
    renames: Mapping[str, str | None] = field(default_factory=dict)
    """Labels of that model with other names here; None for dropped ones."""

    def table(self, split: str) -> ExampleTable[Any]:
        """The examples of a split; an empty table for training data where the task has none."""
        return table_of_rows(self.task, []) if split == "train" and self.kept else self.splits[split].table

    @property
    def kept(self) -> bool:
        """Whether the task stays as the model has it, without training data of its own."""
        return "train" not in self.splits

    @property
    def trains(self) -> bool:
        """Whether there are any rows to train on."""
        return not self.kept or self.teaching is not None


Dataset = dict[str, TaskData]
"""The data of every task of a run."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The data of a run, and which of its tasks are trained: all, or those named in `only`."""

    dataset: Dataset
    only: Sequence[str] = ()

    @property
    def tasks(self) -> dict[str, Task[Any]]:
        """All tasks."""
        return {name: data.task for name, data in self.dataset.items()}

    @property
    def trained(self) -> dict[str, Task[Any]]:
        """The tasks that are trained."""
        return {name: self.dataset[name].task for name in self.only or self.dataset if self.dataset[name].trains}

    @property
    def single(self) -> bool:
        """Whether just one of several tasks is trained."""
        return len(self.trained) == 1 < len(self.dataset)

    def tables(self, split: str) -> dict[str, ExampleTable[Any]]:
        """The examples of a split, for each trained task that has it."""
        return {name: self.dataset[name].table(split) for name in self.only or self.dataset
                if split in self.dataset[name].splits}  # fmt: skip

    def selected(self, select: Mapping[str, float]) -> dict[str, float]:
        """The entries of `training.select` that belong to trained tasks."""
        return {key: weight for key, weight in select.items() if not self.only or key.partition(".")[0] in self.trained}


def data_warnings(dataset: Dataset) -> list[str]:
    """Warnings about data that is usable but probably wrong."""
    return [
        f"warning: tasks.{name}.data.{split}: {text}"
        for name, data in dataset.items()
        for split, texts in warnings_of(data.splits).items()
        for text in texts
    ]


def started_lines(start: StartModel | None, dataset: Dataset) -> list[str]:
    """What becomes of the tasks and labels of the model that a run starts from."""
    if start is None:
        return []
    tasks = {name: data.task for name, data in dataset.items()}
    changed = [data.labels.line(name) for name, data in dataset.items() if data.labels and data.labels.changed]
    return [*start.lines(tasks, [name for name, data in dataset.items() if data.kept]), *changed]


def not_held(file: RunFile, dataset: Dataset) -> list[str]:
    """A warning for each task that continues on new rows alone, although its type has no way to hold it."""
    if not file.run.training.prevent_forgetting:
        return []
    free = [name for name, data in dataset.items()
            if data.labels is not None and data.teaching is None and file.run.tasks[name].data.replay is None]  # fmt: skip
    return [f"warning: {name} may forget what its new rows do not show: {dataset[name].task.kind} tasks cannot be held by "
            "the model's own answers; add old rows as data.replay" for name in free]  # fmt: skip


def solvable(data: TaskData) -> bool:
    """Whether the head of a task that continues is solved again: it has new labels, and old and new rows have them all."""
    grown = data.labels is not None and bool(data.labels.new) and all(data.labels.counts.values())
    return grown and "replay" in data.splits


def content_hashes(dataset: Mapping[str, TaskData]) -> dict[str, str]:
    """A sha256 of each table and teacher that training depends on."""
    found = {f"{name}.{split}": data.table(split).content_hash() for name, data in dataset.items()
             for split in ("train", "replay", "validation") if split in data.splits}  # fmt: skip
    found |= {f"{name}.store": store.digest for name, data in dataset.items() if (store := data.task.store) is not None}
    return found | teacher_hashes(dataset)


def label_changes(dataset: Mapping[str, TaskData]) -> dict[str, Any]:
    """What became of the labels of each task that continues, as JSON."""
    return {name: data.labels.to_json() for name, data in dataset.items() if data.labels and data.labels.became}


def teacher_hashes(dataset: Mapping[str, TaskData]) -> dict[str, str]:
    """A sha256 of each task's teacher and of the rows that only the teacher labels."""
    return {f"{name}.teacher": data.teaching.contents(data.table("train"))
            for name, data in dataset.items() if data.teaching is not None}  # fmt: skip


def rows_of(dataset: Dataset, lengths: WindowLengths) -> dict[str, dict[str, dict[str, int]]]:
    """Row counts of each split: `{task: {split: {read, used, windowed, skipped, left_out}}}`.

    Tokenises all rows, about 50,000 short ones per second. `lengths`: lengths of all windows of a source.
    """
    return {
        name: {split: {"read": loaded.report.rows, "used": len(loaded.table),
                       "windowed": measure(loaded.table, lengths).windowed,
                       "skipped": sum(skip.count for skip in loaded.report.skipped.values()),
                       "left_out": sum(part.count for part in loaded.report.left_out.values())}
               for split, loaded in data.splits.items()}
        for name, data in dataset.items()
    }  # fmt: skip
