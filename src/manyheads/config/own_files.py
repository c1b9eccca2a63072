"""Files that the settings of a task name, such as a dictionary: opened for the task, and their paths in a run file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from manyheads.data.formats.lines import bare_name, lines
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.settings import PATH, annotations_of, setting_types
from manyheads.tasks.store import OwnFile

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.tasks.base import Task


def with_own_files(file: RunFile, task: Task[Any]) -> Task[Any]:
    """The task with the files that its settings name. Raises DataError."""

    def opened(path: str) -> OwnFile:
        shown = file.display_path(path)
        return OwnFile(str(shown), (line for _, line in lines(shown)), tabs=bare_name(shown).endswith(".tsv"))

    if task.store is None:
        return task
    try:
        return task.store.read(opened)
    except DataError as error:
        names = ", ".join(path_settings({"type": task.kind}))
        raise DataError(f"tasks.{task.name}.{names}: {error}") from None


def path_settings(section: Mapping[str, Any]) -> list[str]:
    """The keys of a task's section that are paths."""
    types = setting_types(TASK_TYPES.class_of(section["type"], section))
    return [name for name, hint in types.items() if PATH in annotations_of(hint)]
