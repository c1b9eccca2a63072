"""What a server says about its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyheads.bundle import MANIFEST, is_exported, manifest_hash, read_manifest
from manyheads.serve.errors import InvalidRequestError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import AnswerForm

KINDS: Mapping[AnswerForm, str] = {"vector": "embedding", "relevance": "ranking"}
"""Names of tasks with answers of a form, in messages."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The name, hash and tasks of a model."""

    name: str
    hash: str
    tasks: Mapping[str, Mapping[str, Any]]
    """Each task as in the manifest, plus the form of its answers under `answers`."""
    created: int = 0
    """When the model was written, in seconds since 1970."""
    exported: bool = False
    """Whether it is an ONNX export."""

    @staticmethod
    def read(folder: Path, name: str) -> ServedModel:
        """What the manifest of a folder says. Raises BundleError."""
        manifest = read_manifest(folder)
        tasks, written = with_answer_forms(manifest["tasks"]), int((folder / MANIFEST).stat().st_mtime)
        return ServedModel(name, manifest_hash(manifest), tasks, written, is_exported(manifest))

    @property
    def ids(self) -> list[str]:
        """What requests may give as `model`: the model's name, and those of its embedding and ranking tasks."""
        return list(dict.fromkeys([self.name, *self.tasks_with("vector"), *self.tasks_with("relevance")]))

    def tasks_with(self, form: AnswerForm) -> list[str]:
        """Names of the tasks whose answers have a form."""
        return [name for name, task in self.tasks.items() if task["answers"] == form]

    def chosen_tasks(self, names: Sequence[str] | None) -> list[str]:
        """The named tasks without repetitions; None: all. Raises InvalidRequestError for an unknown one."""
        unknown = [name for name in names or () if name not in self.tasks]
        if unknown:
            raise InvalidRequestError(f"no task {unknown[0][:80]!r}; the model's tasks are {', '.join(self.tasks)}")
        return list(self.tasks if names is None else dict.fromkeys(names))

    def task_of(self, form: AnswerForm, model: str | None) -> str:
        """The task with answers of a form that `model` of a request means. Raises InvalidRequestError."""
        names, kind = self.tasks_with(form), KINDS[form]
        if not names:
            raise InvalidRequestError(f"the model has no {kind} task")
        if len(names) > 1 and model not in names:
            raise InvalidRequestError(f"the model has several {kind} tasks; set model to one of {', '.join(names)}")
        return model if model is not None and model in names else names[0]


def with_answer_forms(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The tasks of a manifest with the form of their answers."""
    return {name: {**task, "answers": TASK_TYPES.class_of(task["type"], task).answer_form} for name, task in tasks.items()}
