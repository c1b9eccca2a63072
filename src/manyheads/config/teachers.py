"""Settings to teachers: model folders and files of soft labels, checked against the tasks they teach."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.files import RunFile
from manyheads.config.strategies import TeacherSection
from manyheads.data.formats.lines import opened
from manyheads.data.report import MOST_ERRORS
from manyheads.data.table import texts_digest
from manyheads.data.unlabelled import read_unlabelled, rows_of_any_task
from manyheads.errors import BundleError, DataError, RowError
from manyheads.nn.resolve_encoder import looks_like_path
from manyheads.text.values import did_you_mean
from manyheads.training.soft_labels import Hold
from manyheads.training.teachers import FileTeacher, ModelTeacher, Teacher, distillation_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from manyheads.config.start_model import StartModel
    from manyheads.data.formats.rows import RawRow
    from manyheads.data.table import ExampleTable
    from manyheads.tasks.base import Task

ENDINGS = (".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Teaching:
    """The teacher of a task, and the rows that only the teacher labels."""

    teacher: Teacher
    unlabelled: list[Any] = field(default_factory=list)
    """Record batches of an example table."""
    hold: Hold | None = None
    """Where the teacher is the model that the task starts from."""

    @property
    def count(self) -> int:
        """Number of unlabelled rows."""
        return sum(map(len, self.unlabelled))

    def extended(self, table: ExampleTable[Any]) -> ExampleTable[Any]:
        """The training examples followed by the unlabelled ones."""
        return table.with_unlabelled(self.unlabelled) if self.unlabelled else table

    def contents(self, table: ExampleTable[Any]) -> str:
        """A sha256 of the teacher and of the unlabelled rows."""
        rows = self.extended(table).content_hash() if self.unlabelled else ""
        return hashlib.sha256(f"{self.teacher.fingerprint}\0{rows}".encode()).hexdigest()


def unknown_teachers(file: RunFile) -> list[str]:
    """An error for each task in `training.teachers` that does not exist."""
    tasks = file.run.tasks
    errors = []
    for name in file.run.training.teachers:
        if name not in tasks:
            errors.append(f"training.teachers.{name}: there is no task '{name}'{did_you_mean(name, tasks)} "
                          f"(tasks: {', '.join(tasks)})")  # fmt: skip
    return errors


@dataclass(frozen=True, slots=True)
class Continued:
    """How a task differs from that of the model that it continues."""

    renames: Mapping[str, str | None] = field(default_factory=dict)
    """New names of labels; None for dropped ones."""
    absent: Sequence[str] = ()
    """Labels that the new rows do not have."""


def held_by(start: StartModel, old: Task[Any], task: Task[Any], change: Continued) -> Teaching | None:
    """A task taught by the model that it starts from; None if its type cannot be, or where the two answer otherwise."""
    distillation = task.distillation
    if distillation is None:
        return None
    try:  # with the labels that both know, under one name
        distillation_of(task.with_labels(old.label_names) if old.label_names else task).check_teacher(old)
    except DataError:
        return None
    teacher = ModelTeacher(start.bundle.folder, old.name, old, start.bundle.hash, change.renames)
    return Teaching(teacher, hold=Hold(frozenset(change.absent)))


def read_teaching(file: RunFile, task: Task[Any], table: ExampleTable[Any]) -> Teaching | None:
    """The teacher of a fitted task; `table`: its training examples. Raises DataError."""
    section = file.run.training.teachers.get(task.name)
    if section is None:
        return None
    try:
        return _teaching(file, section, task, table)
    except (DataError, BundleError) as error:
        lines = str(error).splitlines()
        raise DataError("\n".join(f"training.teachers.{task.name}: {line}" for line in lines)) from None


def _teaching(file: RunFile, section: TeacherSection, task: Task[Any], table: ExampleTable[Any]) -> Teaching:
    distillation = task.distillation
    if distillation is None:
        raise DataError(f"{task.kind} tasks cannot have a teacher; remove it")
    teacher: Teacher
    if section.file is not None:
        teacher = _soft_label_file(file.display_path(section.file), task)
    else:
        assert section.model is not None, "the schema requires one of them"
        teacher = _model_teacher(file, section.model, section.task, task)
    paths = [section.unlabelled] if isinstance(section.unlabelled, str) else section.unlabelled
    found = Teaching(teacher, read_unlabelled(task, distillation.unlabelled, list(map(file.display_path, paths))))
    if isinstance(teacher, FileTeacher):
        whole = found.extended(table)
        digests = [int(digest) for digest in whole.digests()]
        if not any(digest in teacher.rows for digest in digests):
            raise DataError(f"{teacher.shown} has soft labels for none of the {len(whole):,} training rows; its texts "
                            "must match those of the rows exactly")  # fmt: skip
        missing = [i for i, d in enumerate(digests) if d not in teacher.rows and not whole.is_labelled(i)]
        if missing:
            raise DataError(f"{whole.where(missing[0])}: {len(missing):,} unlabelled rows, of which this is the first, "
                            f"have no soft labels in {teacher.shown}; add them there, or remove the rows")  # fmt: skip
    return found


def is_folder(file: RunFile, name: str) -> bool:
    """Whether a model name is a path relative to the run file, and not a Hub id."""
    return name.count("/") != 1 or looks_like_path(name) or file.resolve(name).exists()


def _model_teacher(file: RunFile, name: str, head: str | None, task: Task[Any]) -> ModelTeacher:
    """One head of a model, from its manifest alone."""
    from manyheads.bundle import MANIFEST, manifest_hash, read_manifest, tasks_of
    from manyheads.hub.download import model_folder

    folder = file.display_path(name) if is_folder(file, name) else model_folder(name)
    manifest = read_manifest(folder)
    heads = tasks_of(manifest, folder / MANIFEST)
    alike = [other for other, found in heads.items() if found.kind == task.kind]
    if head is None:
        head = task.name if task.name in heads or len(alike) != 1 else alike[0]
    if head not in heads:
        raise DataError(f"{folder} has no task '{head}'; its tasks are {', '.join(heads)}; name one as 'task'")
    if heads[head].kind != task.kind:
        hint = f"; name one of {', '.join(alike)} as 'task'" if alike else ""
        raise DataError(f"task '{head}' of {folder} is {heads[head].kind}, and this one is {task.kind}{hint}")
    distillation = task.distillation
    assert distillation is not None, "checked by the caller"
    try:
        distillation.check_teacher(heads[head])
    except DataError as error:
        raise DataError(f"{folder} (task '{head}') cannot teach this task: {error}; train the teacher on the same labels, "
                        f"or list its labels under tasks.{task.name}.labels") from None  # fmt: skip
    return ModelTeacher(folder, head, heads[head], manifest_hash(manifest))


def _soft_label_file(path: Path, task: Task[Any]) -> FileTeacher:
    """Read and check a file of soft labels. Raises DataError with the place of each bad row."""
    distillation = task.distillation
    assert distillation is not None, "checked by the caller"
    if not path.name.removesuffix(".gz").endswith(ENDINGS):
        raise DataError(f"{path}: soft labels are read from {' or '.join(ENDINGS)}, each also as .gz")
    rows: dict[int, RawRow] = {}
    errors: list[str] = []
    for raw in rows_of_any_task(path, "soft label"):
        try:
            example = distillation.unlabelled(raw.values)
            distillation.of_row(raw.values, example)
        except RowError as error:
            errors.append(f"{raw.where}: {error}")
            if len(errors) > MOST_ERRORS:
                break
            continue
        digest = texts_digest(task, example)
        first = rows.setdefault(digest, raw)
        if first is not raw and first.values != raw.values:
            errors.append(f"{raw.where}: has the same text as {first.where} but different soft labels; keep one of them")
    if errors:
        raise DataError("\n".join(errors[:MOST_ERRORS]))
    with opened(path) as stream:
        return FileTeacher(path, rows, hashlib.file_digest(stream, "sha256").hexdigest())


def teacher_line(name: str, teaching: Teaching, table: ExampleTable[Any]) -> str:
    """One line on the teacher of a task and the rows it labels."""
    teacher, whole = teaching.teacher, teaching.extended(table)
    count = len(table)
    if isinstance(teacher, FileTeacher):
        count = sum(int(digest) in teacher.rows for digest in whole.digests()) - teaching.count
    more = f" and {teaching.count:,} without labels" if teaching.count else ""
    if teaching.hold is not None:
        more = f"{teaching.count:,} texts of other tasks" if teaching.count else f"{count:,} rows"
        return f"{name} is held by the answers of {teacher.shown} on {more}"
    return f"teacher of {name}: {teacher.shown}, on {count:,} of {len(table):,} labelled rows{more}"
