"""The data of a run: reads each task's files, infers its labels, and checks its splits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from manyheads.config.data_section import DataPath, SourceData
from manyheads.config.files import RunFile
from manyheads.config.first_tasks import errors_of_first_tasks
from manyheads.config.kept_tasks import held_on_texts, kept_task
from manyheads.config.labels import LabelChanges, renames_to
from manyheads.config.own_files import with_own_files
from manyheads.config.start_model import fit_task, start_model
from manyheads.config.task_data import Dataset, TaskData
from manyheads.config.task_section import TaskSection, renames_of, task_of
from manyheads.config.teachers import Continued, held_by, read_teaching, unknown_teachers
from manyheads.config.vectors import with_own_vectors
from manyheads.data.build import DataSource, build_table
from manyheads.data.hub import Hub
from manyheads.data.python_rows import MARK, PythonRows, PythonSource
from manyheads.data.readers import Files
from manyheads.data.renamed_rows import renamed_rows
from manyheads.data.report import ReadReport, Skipped
from manyheads.data.saved_datasets import SavedDataset, is_saved_dataset
from manyheads.data.split import split_table
from manyheads.data.table import ExampleTable
from manyheads.data.warnings import SET_ASIDE, Loaded
from manyheads.errors import DataError
from manyheads.tasks.statistics import DataStatistics

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

SPLITS = ("train", "replay", "validation", "test")
TRAINING = ("train", "replay")
"""Splits that are trained on: new rows, and rows that the model was trained on before."""
Rows = dict[str, tuple[ExampleTable[Any], ReadReport]]
"""The splits of a task as read."""
SPLIT_SEED = 0
"""Seed of the validation split, which does not depend on the seed of the training."""


def source_of(file: RunFile, path: DataPath) -> DataSource:
    """The data source of one split. Raises DataError for keys that exclude one another."""
    given = path if isinstance(path, SourceData) else SourceData(path=path)
    if isinstance(given.path, PythonRows):
        for key in ("format", "names", "config", "split"):
            if getattr(given, key):
                raise DataError(f"'{key}' is for files and Hub data sets, not for rows from Python; remove it")
        return PythonSource(given.path, given.columns)
    paths = [given.path] if isinstance(given.path, str) else given.path
    if paths[:1] and paths[0].startswith(MARK):
        raise DataError(f"these rows were given from Python ({paths[0].removeprefix(MARK)}) and are not stored with the run; "
                        "give the data again")  # fmt: skip
    hub = [part for part in paths if part.startswith("hf:")]
    if hub:
        if len(paths) > 1 or given.format is not None or given.names:
            raise DataError(f"{hub[0]}: a Hub data set cannot be combined with other paths, 'format' or 'names'")
        return Hub(hub[0].removeprefix("hf:"), given.config, given.split, given.columns)
    if len(paths) == 1 and given.format is None and not given.names and is_saved_dataset(file.resolve(paths[0])):
        return SavedDataset(file.display_path(paths[0]), given.split, given.columns)
    for key in ("config", "split"):
        if getattr(given, key):
            raise DataError(
                f"{paths[0]}: '{key}' is for Hub data sets; write hf:{paths[0]}, or remove '{key}'"
            )
    return Files(tuple(map(file.display_path, paths)), given.format, tuple(given.names), given.columns)


def read_dataset(file: RunFile) -> Dataset:
    """Read and check the data of every task. Raises DataError with task, split and place of every error in any of them."""
    dataset, errors = read_tasks(file)
    _raise_all(errors)
    return dataset


def read_tasks(file: RunFile) -> tuple[Dataset, list[str]]:
    """The data of every task that can be read, in the order of the run file, and the errors of the others."""
    errors = unknown_teachers(file) + errors_of_first_tasks(file) + unknown_dependencies(file)
    found: Dataset = {}
    trained = [name for name, section in file.run.tasks.items() if has_rows(section)]
    for name in [*trained, *(name for name in file.run.tasks if name not in trained)]:
        try:
            found[name] = read_task(file, name) if name in trained else _kept(file, name, found)
        except DataError as error:
            errors += str(error).splitlines()
    return {name: found[name] for name in file.run.tasks if name in found}, errors


def unknown_dependencies(file: RunFile, more: Collection[str] = ()) -> list[str]:
    """An error for each task about the answers of a task that is not in the run, or `more`, or does not answer entities."""
    tasks = {name: task_of(name, section) for name, section in file.run.tasks.items()}
    finders = [name for name, task in tasks.items() if task.answer_form == "spans"]
    known = ", ".join([*finders, *more]) or "none"
    return [
        f"tasks.{name}.of: '{other}' is no task of this run that finds entities; those are: {known}"
        for name, task in tasks.items()
        if (other := task.depends_on) is not None and other not in finders and other not in more
    ]


def has_rows(section: TaskSection) -> bool:
    """Whether a task has training data of its own."""
    return section.data.train is not None or section.data.replay is not None


def _kept(file: RunFile, name: str, others: Dataset) -> TaskData:
    """A task without training data, held on the texts of the others."""
    task = kept_task(file, name)
    found = read_rows(file, name, ("validation", "test"))
    splits = {split: Loaded(table.with_task(task), report) for split, (table, report) in found.items()}
    tables = (data.table("train") for data in others.values() if not data.kept)
    return TaskData(task, splits, teaching=held_on_texts(file, task, tables))


def read_task(file: RunFile, name: str) -> TaskData:
    """Read and check the data of one task. Raises DataError with the errors of all its splits."""
    return settle(file, name, read_rows(file, name))


def read_rows(file: RunFile, name: str, splits: Sequence[str] = SPLITS) -> Rows:
    """Read the splits of one task. They do not depend on its labels and settings."""
    section = file.run.tasks[name]
    task = with_own_vectors(file, task_of(name, section), section)
    found: Rows = {}
    errors: list[str] = []
    for split in splits:
        path = getattr(section.data, split)
        if path is None:
            continue
        try:
            found[split] = _table(file, task, path, split)
        except DataError as error:
            errors.append(str(error))
    _raise_all(errors)
    if renames := renames_of(section) if "replay" in found else {}:
        found["replay"] = renamed_rows(found["replay"][0], renames, found["replay"][1])
    if "replay" in found and section.data.train is None:
        found["train"] = found.pop("replay")
    return found


def settle(file: RunFile, name: str, rows: Rows) -> TaskData:
    """Settle the labels and splits of a task whose rows were read, and check them. Raises DataError."""
    section, start = file.run.tasks[name], start_model(file)
    unfitted = with_own_files(file, with_own_vectors(file, task_of(name, section), section))
    old = None if start is None else start.task(name, section.type)
    renames = renames_to(section, name, old)
    if section.data.replay is not None and old is None:
        raise DataError(f"tasks.{name}.data.replay names old rows of a task that continues from a model; set "
                        "training.init_from to a model that has the task, or list the file under 'train'")  # fmt: skip
    found = dict(rows)
    whole, report = found["train"]
    statistics = report.statistics + (found["replay"][1].statistics if "replay" in found else DataStatistics())
    for _, other in found.values():  # the range of scores depends on all splits, the labels only on train
        statistics = statistics.widened(other.statistics)
    task = fit_task(unfitted, statistics, old, renames)
    if section.data.validation is None and section.validation_fraction > 0:
        found |= _split_off(found, section.validation_fraction)
    splits: dict[str, Loaded] = {}
    errors: list[str] = []
    for split in (name for name in SPLITS if name in found):
        table, told = found[split]
        try:
            splits[split] = Loaded(_checked(table.with_task(task), split, trains=split in TRAINING), told)
        except DataError as error:
            errors.append(str(error))
    _raise_all(errors)
    cut = section.data.validation is None and "validation" in splits
    teaching = read_teaching(file, task, splits["train"].table)
    if teaching is None and start is not None and old is not None and file.run.training.prevent_forgetting:
        absent = [label for label in task.label_names if not report.statistics.labels.get(label)]
        completes = task.distillation is not None and task.distillation.completes
        if section.data.replay is None or (absent and completes):
            teaching = held_by(start, old, task, Continued(renames, absent))
    changes = None if old is None else LabelChanges.of(old, task, renames, statistics)
    return TaskData(task, splits, whole.with_task(task) if cut else None, teaching, changes, renames)


def on_all_rows(dataset: Dataset) -> Dataset:
    """The data with split-off validation rows put back into the training rows, and without validation splits."""
    found = {}
    for name, data in dataset.items():
        rest = {split: loaded for split, loaded in data.splits.items() if split == "replay"}
        if data.kept:
            found[name] = replace(data, splits={})
            continue
        train = data.splits["train"]
        splits = {**rest, "train": train if data.whole is None else Loaded(data.whole, train.report)}
        found[name] = replace(data, splits=splits, whole=None)
    return found


def _split_off(found: Rows, fraction: float) -> Rows:
    """Split train and validation data off the training rows, and off old rows. Raises DataError.

    The same rows of the old data are set aside as in the training of the model, because a hash of their text decides.
    """
    whole, report = found["train"]
    parts = split_table(whole, fraction, SPLIT_SEED)
    divided = {"train": (parts.train, report)}
    held = parts.validation
    if "replay" in found:
        old, old_report = found["replay"]
        with suppress(DataError):  # too few to divide
            old_parts = split_table(old, fraction, SPLIT_SEED)
            divided["replay"] = (old_parts.train, old_report)
            held = held.followed_by(old_parts.validation)
    aside = {split: len(found[split][0]) - len(table) for split, (table, _) in divided.items()}
    for split, (table, told) in divided.items():
        counted, first = table.survey(), Skipped(aside[split], held.where(0 if split == "train" else len(parts.validation)))
        skipped = {**told.skipped, SET_ASIDE: first}
        divided[split] = table, replace(told, used=len(table), skipped=skipped, statistics=counted.statistics,
                                        places=counted.places)  # fmt: skip
    return {**divided, "validation": (held, replace(held.survey(parts.notes), formats=report.formats))}


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
    if not has_rows(section):
        return None
    found = read_rows(file, task.name, TRAINING)
    if section.validation_fraction:
        found = _split_off(found, section.validation_fraction)
    return _checked(found[split][0].with_task(task), split)


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
