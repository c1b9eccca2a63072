"""Settings and weights for sentence vectors in the encoder's own folder, for task types that use them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.model import encoder_location
from manyheads.config.task_section import TaskSection, task_of
from manyheads.tasks.base import Task

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.model import MultiTaskModel


def with_own_vectors(file: RunFile, task: Task[Any], section: TaskSection) -> Task[Any]:
    """The task with the settings from the encoder's folder, where the run file sets none."""
    if not _overrides(task, "with_encoder_settings"):
        return task
    return task.with_encoder_settings(_folder(file), section.model_fields_set)


def start_with_own_vectors(file: RunFile, model: MultiTaskModel, tasks: Mapping[str, Task[Any]]) -> None:
    """Load weights from the encoder's folder into the heads that can use them."""
    for name, task in tasks.items():
        if _overrides(task, "load_encoder_weights"):
            task.load_encoder_weights(_folder(file), file.run.tasks[name].model_fields_set, model.heads[name])


def vector_notes(file: RunFile) -> list[str]:
    """Warnings about parts of the encoder's folder that a head does not use."""
    notes = []
    for name, section in file.run.tasks.items():
        task = task_of(name, section)
        if _overrides(task, "encoder_notes"):
            clauses = task.encoder_notes(_folder(file), section.model_fields_set)
            notes += [f"warning: {name}: {file.run.encoder.name} {clause}" for clause in clauses]
    return notes


def _overrides(task: Task[Any], hook: str) -> bool:
    """Whether a task type overrides a hook; the encoder is not downloaded for types that do not."""
    return getattr(type(task), hook) is not getattr(Task, hook)


def _folder(file: RunFile) -> Path:
    return Path(encoder_location(file).path_or_id)
