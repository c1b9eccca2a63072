"""What the encoder's folder says of the vectors that are made with it, for the tasks that listen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.model import locate
from manyheads.config.schema import TaskSection, task_of
from manyheads.tasks.base import Task

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.model import MultiTaskModel


def with_own_vectors(file: RunFile, task: Task[Any], section: TaskSection) -> Task[Any]:
    """The task with what its encoder's folder says of it, wherever the run file says nothing."""
    if not _has_own(task, "settled_by_encoder"):
        return task
    return task.settled_by_encoder(_folder(file), section.model_fields_set)


def start_with_own_vectors(file: RunFile, model: MultiTaskModel, tasks: Mapping[str, Task[Any]]) -> None:
    """Put weights of the encoder's folder into the heads that have a place for them."""
    for name, task in tasks.items():
        if _has_own(task, "start_from_encoder"):
            task.start_from_encoder(_folder(file), file.run.tasks[name].model_fields_set, model.heads[name])


def vector_notes(file: RunFile) -> list[str]:
    """What the encoder's folder has for heads and they leave out, for people."""
    notes = []
    for name, section in file.run.tasks.items():
        task = task_of(name, section)
        if _has_own(task, "encoder_notes"):
            clauses = task.encoder_notes(_folder(file), section.model_fields_set)
            notes += [f"warning: {name}: {file.run.encoder.name} {clause}" for clause in clauses]
    return notes


def _has_own(task: Task[Any], hook: str) -> bool:
    """Whether a type of task looks into the encoder's folder: the encoder is not fetched for those that do not."""
    return getattr(type(task), hook) is not getattr(Task, hook)


def _folder(file: RunFile) -> Path:
    return Path(locate(file).path_or_id)
