"""The data of a run: reads each task's files, infers its labels, and checks its splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from manyheads.config.files import RunFile
from manyheads.config.schema import DataPath, SourceData, task_of
from manyheads.config.start_model import fit_task, start_model
from manyheads.config.teachers import Teaching, read_teaching, unknown_teachers
from manyheads.config.vectors import with_own_vectors
from manyheads.data.build import DataSource, build_table
from manyheads.data.hub import Hub
from manyheads.data.readers import Files
from manyheads.data.report import ReadReport, Skipped
from manyheads.data.saved_datasets import SavedDataset, is_saved_dataset
from manyheads.data.split import split_table
from manyheads.data.table import ExampleTable
from manyheads.data.validate import WindowLengths, measure
from manyheads.data.warnings import Loaded, warnings_of
from manyheads.errors import DataError

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

SPLIT_SEED = 0
"""Seed of the validation split, which does not depend on the seed of the training."""


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task fitted to its training data, and its checked splits."""

    task: Task[Any]
    splits: dict[str, Loaded]
    whole: ExampleTable[Any] | None = None
    """All training examples, if the validation examples were split off from them."""
    teaching: Teaching | None = None
    """The task's teacher, and the rows that only the teacher labels."""

    def table(self, split: str) -> ExampleTable[Any]:
        """The examples of a split."""
        return self.splits[split].table


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
        return {name: self.dataset[name].task for name in self.only or self.dataset}

    @property
    def single(self) -> bool:
        """Whether just one of several tasks is trained."""
        return len(self.trained) == 1 < len(self.dataset)

    def tables(self, split: str) -> dict[str, ExampleTable[Any]]:
        """The examples of a split, for each trained task that has it."""
        return {name: self.dataset[name].table(split) for name in self.trained if split in self.dataset[name].splits}

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


def content_hashes(dataset: Mapping[str, TaskData]) -> dict[str, str]:
    """A sha256 of each table and teacher that training depends on."""
    found = {f"{name}.{split}": data.table(split).content_hash() for name, data in dataset.items()
             for split in ("train", "validation") if split in data.splits}  # fmt: skip
    return found | teacher_hashes(dataset)


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


def source_of(file: RunFile, path: DataPath) -> DataSource:
    """The data source of one split. Raises DataError for keys that exclude one another."""
    given = path if isinstance(path, SourceData) else SourceData(path=path)
    paths = [given.path] if isinstance(given.path, str) else given.path
    hub = [part for part in paths if part.startswith("hf:")]
    if hub:
        if len(paths) > 1 or given.format is not None or given.names:
            raise DataError(f"{hub[0]}: a Hub data set cannot be combined with other paths, 'format' or 'names'")
        return Hub(hub[0].removeprefix("hf:"), given.config, given.split, given.columns)
    if len(paths) == 1 and given.format is None and not given.names and is_saved_dataset(file.resolve(paths[0])):
        return SavedDataset(file.display_path(paths[0]), given.split, given.columns)
    for key in ("config", "split", "columns"):
        if getattr(given, key):
            raise DataError(
                f"{paths[0]}: '{key}' is for Hub data sets; write hf:{paths[0]}, or remove '{key}'"
            )
    return Files(tuple(map(file.display_path, paths)), given.format, tuple(given.names))


def read_dataset(file: RunFile) -> Dataset:
    """Read and check the data of every task. Raises DataError with task, split and place of every error in any of them."""
    errors = unknown_teachers(file)
    dataset: Dataset = {}
    for name in file.run.tasks:
        try:
            dataset[name] = read_task(file, name)
        except DataError as error:
            errors.append(str(error))
    _raise_all(errors)
    return dataset


def read_task(file: RunFile, name: str) -> TaskData:
    """Read and check the data of one task. Raises DataError with the errors of all its splits."""
    section = file.run.tasks[name]
    unfitted = with_own_vectors(file, task_of(name, section), section)
    found: dict[str, tuple[ExampleTable[Any], ReadReport]] = {}
    errors: list[str] = []
    for split in ("train", "validation", "test"):
        path = getattr(section.data, split)
        if path is None:
            continue
        try:
            found[split] = _table(file, unfitted, path, split)
        except DataError as error:
            errors.append(str(error))
    _raise_all(errors)
    whole, report = found["train"]
    statistics = report.statistics
    for _, other in found.values():  # the range of scores depends on all splits, the labels only on train
        statistics = statistics.widened(other.statistics)
    task = fit_task(unfitted, statistics, start_model(file))
    if section.data.validation is None and section.validation_fraction > 0:
        found |= _split_off(whole, report, section.validation_fraction)
    splits: dict[str, Loaded] = {}
    for split in (name for name in ("train", "validation", "test") if name in found):
        table, told = found[split]
        try:
            splits[split] = Loaded(_checked(table.with_task(task), split, trains=split == "train"), told)
        except DataError as error:
            errors.append(str(error))
    _raise_all(errors)
    cut = section.data.validation is None and "validation" in splits
    teaching = read_teaching(file, task, splits["train"].table)
    return TaskData(task, splits, whole.with_task(task) if cut else None, teaching)


def on_all_rows(dataset: Dataset) -> Dataset:
    """The data with split-off validation rows put back into the training rows, and without validation splits."""
    found = {}
    for name, data in dataset.items():
        train = data.splits["train"]
        splits = {"train": train if data.whole is None else Loaded(data.whole, train.report)}
        found[name] = TaskData(data.task, splits, teaching=data.teaching)
    return found


def _split_off(
    whole: ExampleTable[Any], report: ReadReport, fraction: float
) -> dict[str, tuple[ExampleTable[Any], ReadReport]]:
    """Split the training data into train and validation. Raises DataError."""
    parts = split_table(whole, fraction, SPLIT_SEED)
    split_off = Skipped(len(parts.validation), parts.validation.where(0))
    skipped = {**report.skipped, "set aside for validation": split_off}
    counted = parts.train.survey()
    train = replace(report, used=len(parts.train), skipped=skipped, statistics=counted.statistics, places=counted.places)
    validation = replace(parts.validation.survey(parts.notes), formats=report.formats)
    return {"train": (parts.train, train), "validation": (parts.validation, validation)}


def _raise_all(errors: list[str]) -> None:
    if errors:
        raise DataError("\n".join(errors))


def read_split(file: RunFile, task: Task[Any], split: str) -> ExampleTable[Any] | None:
    """One split of the data of a trained task; None if the run file has none."""
    section = file.run.tasks[task.name]
    path = getattr(section.data, split)
    if path is not None and (split != "train" or section.data.validation is not None):
        return _checked(_table(file, task, path, split)[0], split)
    if split == "test" or (split == "validation" and not section.validation_fraction):
        return None
    whole = _table(file, task, section.data.train, "train")[0]
    if not section.validation_fraction:
        return _checked(whole, split)
    parts = split_table(whole, section.validation_fraction, SPLIT_SEED)
    return _checked(parts.validation if split == "validation" else parts.train, split)


def _table(file: RunFile, task: Task[Any], path: DataPath, split: str) -> tuple[ExampleTable[Any], ReadReport]:
    try:
        return build_table(task, source_of(file, path), split)
    except DataError as error:
        raise _with_place(error, task, split) from None


def _checked(table: ExampleTable[Any], split: str, *, trains: bool = False) -> ExampleTable[Any]:
    try:
        table.check(trains=trains)
    except DataError as error:
        raise _with_place(error, table.task, split) from None
    return table


def _with_place(error: DataError, task: Task[Any], split: str) -> DataError:
    return DataError("\n".join(f"tasks.{task.name}.data.{split}: {line}" for line in str(error).splitlines()))
