"""The data of a run: each task's files read, its labels settled, its splits checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.files import RunFile
from manyheads.config.schema import DataPath, SourceData, task_of
from manyheads.config.teachers import Teaching, read_teaching, unknown_teachers
from manyheads.config.vectors import with_own_vectors
from manyheads.data.build import DataSource, build_table
from manyheads.data.hub import Hub
from manyheads.data.readers import Files
from manyheads.data.report import ReadReport, Skipped
from manyheads.data.saved import Saved, is_saved
from manyheads.data.split import part_table, split_table
from manyheads.data.table import ExampleTable
from manyheads.data.validate import WindowLengths, measure
from manyheads.data.warnings import Loaded, warnings_of
from manyheads.errors import DataError

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

SPLIT_SEED = 0
"""Of `validation_fraction`: the same examples validate whatever the seed of the training."""


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task fitted to its training data, and its splits, read and checked."""

    task: Task[Any]
    splits: dict[str, Loaded]
    whole: ExampleTable[Any] | None = None
    """All training examples, where the validation examples were cut from them."""
    teaching: Teaching | None = None
    """Who teaches the task, and the rows without labels."""

    def table(self, split: str) -> ExampleTable[Any]:
        """The examples of a split."""
        return self.splits[split].table


Dataset = dict[str, TaskData]
"""The data of every task of a run."""


def data_warnings(dataset: Dataset) -> list[str]:
    """What is likely to be wrong with the data, although it can be trained on."""
    return [
        f"warning: tasks.{name}.data.{split}: {text}"
        for name, data in dataset.items()
        for split, texts in warnings_of(data.splits).items()
        for text in texts
    ]


def taught_contents(dataset: Mapping[str, TaskData]) -> dict[str, str]:
    """A sha256 of each task's teacher, with the rows that it alone labels."""
    return {f"{name}.teacher": data.teaching.contents(data.table("train"))
            for name, data in dataset.items() if data.teaching is not None}  # fmt: skip


def rows_of(dataset: Dataset, lengths: WindowLengths) -> dict[str, dict[str, dict[str, int]]]:
    """What became of the rows of each split: `{task: {split: {read, used, windowed, skipped, left_out}}}`.

    All are tokenised for it, some 50,000 short rows a second. `lengths`: of all windows of a source.
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
    """Where the data of one split comes from. Raises DataError for keys that do not go together."""
    given = path if isinstance(path, SourceData) else SourceData(path=path)
    paths = [given.path] if isinstance(given.path, str) else given.path
    hub = [part for part in paths if part.startswith("hf:")]
    if hub:
        if len(paths) > 1 or given.format is not None or given.names:
            raise DataError(f"{hub[0]}: a data set of the hub stands alone, without other paths, 'format' and 'names'")
        return Hub(hub[0].removeprefix("hf:"), given.config, given.split, given.columns)
    if len(paths) == 1 and given.format is None and not given.names and is_saved(file.resolve(paths[0])):
        return Saved(shown(file.resolve(paths[0])), given.split, given.columns)
    for key in ("config", "split", "columns"):
        if getattr(given, key):
            raise DataError(
                f"{paths[0]}: '{key}' is for data sets of the hub; write hf:{paths[0]}, or leave '{key}' out"
            )
    return Files(tuple(shown(file.resolve(part)) for part in paths), given.format, tuple(given.names))


def read_dataset(file: RunFile) -> Dataset:
    """Read and check the data of every task. Raises DataError naming task, split and place of each defect, of all tasks."""
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
    """Read and check the data of one task. Raises DataError, with the defects of all its splits."""
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
    for _, other in found.values():  # what scores may be follows from all splits, what labels there are from train
        statistics = statistics.widened(other.statistics)
    task = unfitted.fit(statistics)
    if section.data.validation is None and section.validation_fraction > 0:
        found |= _divided(whole, report, section.validation_fraction)
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
    """The data with the validation rows that were cut from training rows put back, and nothing left to choose by."""
    found = {}
    for name, data in dataset.items():
        train = data.splits["train"]
        splits = {"train": train if data.whole is None else Loaded(data.whole, train.report)}
        found[name] = TaskData(data.task, splits, teaching=data.teaching)
    return found


def _divided(
    whole: ExampleTable[Any], report: ReadReport, fraction: float
) -> dict[str, tuple[ExampleTable[Any], ReadReport]]:
    """Train and validation out of the training data. Raises DataError."""
    parts = part_table(whole, fraction, SPLIT_SEED)
    aside = Skipped(len(parts.validation), parts.validation.where(0))
    skipped = {**report.skipped, "set aside for validation": aside}
    counted = parts.train.survey()
    train = replace(report, used=len(parts.train), skipped=skipped, statistics=counted.statistics, places=counted.places)
    held = replace(parts.validation.survey(parts.notes), formats=report.formats)
    return {"train": (parts.train, train), "validation": (parts.validation, held)}


def _raise_all(errors: list[str]) -> None:
    if errors:
        raise DataError("\n".join(errors))


def read_split(file: RunFile, task: Task[Any], split: str) -> ExampleTable[Any] | None:
    """One split of the data of a trained task; None where the run file has none."""
    section = file.run.tasks[task.name]
    path = getattr(section.data, split)
    if path is not None and (split != "train" or section.data.validation is not None):
        return _checked(_table(file, task, path, split)[0], split)
    if split == "test" or (split == "validation" and not section.validation_fraction):
        return None
    whole = _table(file, task, section.data.train, "train")[0]
    if not section.validation_fraction:
        return _checked(whole, split)
    return _checked(split_table(whole, section.validation_fraction, SPLIT_SEED)[split == "validation"], split)


def _table(file: RunFile, task: Task[Any], path: DataPath, split: str) -> tuple[ExampleTable[Any], ReadReport]:
    try:
        return build_table(task, source_of(file, path), split)
    except DataError as error:
        raise _placed(error, task, split) from None


def _checked(table: ExampleTable[Any], split: str, *, trains: bool = False) -> ExampleTable[Any]:
    try:
        table.check(trains=trains)
    except DataError as error:
        raise _placed(error, table.task, split) from None
    return table


def _placed(error: DataError, task: Task[Any], split: str) -> DataError:
    return DataError("\n".join(f"tasks.{task.name}.data.{split}: {line}" for line in str(error).splitlines()))


def shown(path: Path) -> Path:
    """A path as a person would type it: relative when it lies below the working folder."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
