"""Scores of a model on the data of a run file, or on rows from Python."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.files import RunFile, run_of
from manyheads.data.python_inputs import task_names
from manyheads.errors import UsageError
from manyheads.start import evaluate_model

if TYPE_CHECKING:
    from manyheads.evaluate import Scores
    from manyheads.inference import LoadedModel

SPLITS = ("train", "validation", "test")
log = logging.getLogger("manyheads")


def scores_on(loaded: LoadedModel, data: Any, split: str, tasks: str | Iterable[str] | None) -> Scores:
    """Scores of the named tasks; None: all that have data. Notes and warnings go to the log `manyheads`.

    `data`: see `Model.evaluate`. Raises UsageError.
    """
    if split not in SPLITS:
        raise UsageError(f"split is {split!r}, but must be one of {', '.join(SPLITS)}")
    names = task_names(tasks)
    if isinstance(data, Mapping):
        names = loaded.predictor.check_tasks(list(data) if names is None else names)
        return evaluate_model(loaded, data=_run_file(loaded, data, split), split=split, names=names, say=log.warning)
    if data is not None and not isinstance(data, str | Path):
        raise UsageError(f"data must be the path of a run file, or a dictionary with the rows of each task, seen "
                         f"{type(data).__name__}")  # fmt: skip
    path = None if data is None else Path(data)
    return evaluate_model(loaded, data=path, split=split, names=names, say=log.warning)


def _run_file(loaded: LoadedModel, data: Mapping[str, Any], split: str) -> RunFile:
    """A run of the model's own tasks with this data, none of which is trained."""
    kinds = {name: loaded.tasks[name].kind for name in loaded.predictor.check_tasks(list(data))}
    sections = {name: {"type": kind, "data": _splits(data[name], split)} for name, kind in kinds.items()}
    made = run_of({"tasks": sections, "training": {"init_from": str(loaded.bundle.folder)}})
    return replace(made, path=made.path.with_name("the given data"))


def _splits(given: Any, split: str) -> Mapping[str, Any]:
    """The data of a task by split; rows by themselves are those of `split`."""
    if isinstance(given, Mapping) and "path" not in given:
        return dict(given)
    return {split: given}
