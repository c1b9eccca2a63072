"""Tasks of the model that a run starts from which have no training data: kept, and held by the model's own answers.

Decided here: the model labels the texts of the other tasks, as in learning without forgetting (Li & Hoiem 2016). At most
`MOST_TEXTS` of them, drawn by hash: more cost time and hold the task no better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from manyheads.config.start_model import start_model
from manyheads.config.task_section import RUN_KEYS
from manyheads.config.teachers import Continued, held_by
from manyheads.data.unlabelled import batches_of_rows
from manyheads.errors import DataError

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.config.teachers import Teaching
    from manyheads.data.table import ExampleTable
    from manyheads.tasks.base import Task

MOST_TEXTS = 20_000


def kept_task(file: RunFile, name: str) -> Task[Any]:
    """A task as the model has it. Raises DataError if it has none of this name and type, or if its section sets more."""
    section, start = file.run.tasks[name], start_model(file)
    task = None if start is None else start.task(name, section.type)
    if start is None or task is None:
        has = "none" if start is None else ", ".join(f"{other} ({one.kind})" for other, one in start.bundle.tasks.items())
        raise DataError(f"tasks.{name} has no training data, so it must be a task of the model that the run starts from, "
                        f"which has {has}; add data.train, or correct the name")  # fmt: skip
    if settings := sorted(section.model_fields_set - RUN_KEYS - {"weight"}):
        raise DataError(f"tasks.{name}.{settings[0]}: the task has no training data and stays as it is in the model; remove "
                        f"'{settings[0]}', or add data.train")  # fmt: skip
    if name in file.run.training.teachers:
        raise DataError(f"training.teachers.{name}: the task has no training data, so the model itself holds it; remove the "
                        "teacher, or add data.train")  # fmt: skip
    return replace(task, weight=section.weight)


def held_on_texts(file: RunFile, task: Task[Any], tables: Iterable[ExampleTable[Any]]) -> Teaching | None:
    """How a kept task is held on the texts of other tasks; None if the run file asks for that to be left out.

    Raises DataError for a task that cannot be held on texts.
    """
    start = start_model(file)
    if start is None or not file.run.training.prevent_forgetting:
        return None
    return _on_texts(task, held_by(start, task, task, Continued()), tables)


def _on_texts(task: Task[Any], teaching: Teaching | None, tables: Iterable[ExampleTable[Any]]) -> Teaching:
    """The teaching of a task on texts of other tasks. Raises DataError if it cannot be taught on them."""
    distillation = task.distillation
    texts = _texts(tables)
    rows = [] if distillation is None else distillation.rows_of_texts(texts)
    if teaching is None or distillation is None or not rows:
        why = f"{task.kind} tasks cannot be taught" if distillation is None else "texts of other tasks are no input for it"
        raise DataError(f"tasks.{task.name} has no training data, and the model's own answers cannot hold it: {why}; add old "
                        "rows as data.replay, leave the task out, or set training.prevent_forgetting to false")  # fmt: skip
    return replace(teaching, unlabelled=batches_of_rows(task, distillation.unlabelled, rows, "texts of other tasks"))


def _texts(tables: Iterable[ExampleTable[Any]]) -> list[str]:
    """The texts of tables, each once, in the order of their hashes."""
    found = {text for table in tables for example in table for entry in table.task.sources_of_example(example)
             for text in (entry.source.first, entry.source.second) if text and text.strip()}  # fmt: skip
    return sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())[:MOST_TEXTS]
