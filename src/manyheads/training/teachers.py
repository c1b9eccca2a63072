"""Teachers: models, or files of soft labels of any system, and their labels for examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.data.table import texts_digest
from manyheads.errors import DataError, RowError
from manyheads.tasks.distillation import KEPT

if TYPE_CHECKING:
    from manyheads.data.formats.rows import RawRow
    from manyheads.data.table import ExampleTable
    from manyheads.evaluate import Metrics
    from manyheads.tasks.base import Task
    from manyheads.tasks.distillation import Distillation, Soft


class ModelTeacher:
    """A head of a model folder. Its weights are loaded when they are first needed."""

    reads_anything = True
    """Whether it labels any text, or only those that it has."""

    def __init__(
        self, folder: Path, head: str, task: Task[Any], fingerprint: str, became: Mapping[str, str | None] = KEPT
    ) -> None:
        """`task`: of the head. `fingerprint`: of the folder. `became`: new names of its labels; None: dropped."""
        self.shown = f"{folder} (task '{head}')"
        """For messages."""
        self.fingerprint = f"{fingerprint}\0{head}" + (f"\0{json.dumps(dict(became), sort_keys=True)}" if became else "")
        """Changes whenever its labels may."""
        self.task = task
        self._folder = folder
        self._head = head
        self._became = became
        self._loaded: Any = None

    def soft_labels(self, task: Task[Any], examples: Sequence[Any], device: str) -> list[Soft | None]:
        """Labels of examples, through the predictor that serves the model."""
        distillation = distillation_of(task)
        inputs = [task.sources_of_example(example) for example in examples]
        more = [self._became] if self._became else []
        items = iter(self._model(device).predictor.items(self._head, [entry for some in inputs for entry in some]))
        return [
            distillation.of_model(self.task, example, [next(items) for _ in some], *more)
            for example, some in zip(examples, inputs, strict=True)
        ]

    def scores(self, table: ExampleTable[Any], device: str) -> Metrics:
        """Its own scores on labelled rows; none where labels have other names."""
        if self._became:
            return {}
        from manyheads.evaluate import answers_for

        answers, examples = answers_for(self._model(device).predictor, self.task, table)
        return self.task.score(answers, examples)

    def close(self) -> None:
        """Free the weights."""
        self._loaded = None

    def _model(self, device: str) -> Any:
        if self._loaded is None:
            from manyheads.bundle import is_exported, read_manifest
            from manyheads.inference import load_model

            exported = is_exported(read_manifest(self._folder))
            self._loaded = load_model(self._folder, device="cpu" if exported else device)
        return self._loaded


class FileTeacher:
    """Rows of soft labels, found by their texts."""

    reads_anything = False

    def __init__(self, path: Path, rows: Mapping[int, RawRow], fingerprint: str) -> None:
        """`rows` by the digest of their texts (`texts_digest`)."""
        self.shown = str(path)
        self.fingerprint = fingerprint
        self.rows = rows

    def soft_labels(self, task: Task[Any], examples: Sequence[Any], device: str) -> list[Soft | None]:
        """Labels of the rows with the same texts; None for an example without such a row."""
        distillation = distillation_of(task)
        found: list[Soft | None] = []
        for example in examples:
            raw = self.rows.get(texts_digest(task, example))
            try:
                found.append(None if raw is None else distillation.of_row(raw.values, example))
            except RowError as error:
                where = raw.where if raw is not None else self.shown
                raise DataError(f"{where}: {error}") from None
        return found

    def scores(self, table: ExampleTable[Any], device: str) -> Metrics:
        """None: it has no labels for other rows."""
        return {}

    def close(self) -> None:
        """Nothing to free."""


Teacher = ModelTeacher | FileTeacher


def distillation_of(task: Task[Any]) -> Distillation[Any]:
    """The distillation of a task that has a teacher."""
    distillation = task.distillation
    assert distillation is not None, "checked when the run file was read"
    return distillation
