"""The run file of one task alone: what you would train if you had no other task.

Its settings stay as written, except those that only make sense with several tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.config.files import RunFile
from manyheads.config.first_tasks import SECTION_DEFAULTS
from manyheads.config.schema import Training
from manyheads.config.strategies import Sharing

MULTI_TASK_KEYS = ("balancing", "anchor", "first_tasks", "sampling", "shard_layers")
"""Keys of `training` that mean nothing for one task."""

Value = float | int | str | bool | None
TrainingSettings = tuple[tuple[str, Value], ...]
"""Keys and values of `training`, hashable."""


def single_task_run(file: RunFile, task: str, settings: Mapping[str, Any]) -> RunFile:
    """The run file with one task only. `settings` replace keys of `training`; None removes a key."""
    run = file.run
    given = run.training.model_dump(exclude_unset=True)
    values = {key: _of_task(key, value, task) for key, value in given.items() if key not in MULTI_TASK_KEYS}
    values |= settings
    if "epochs" in settings:
        values.pop("steps", None)
    training = Training.model_validate({key: value for key, value in values.items() if value is not None})
    update = {
        "tasks": {task: run.tasks[task].model_copy(update=SECTION_DEFAULTS)}, "training": training,
        "sharing": Sharing(layer_mix=run.sharing.layer_mix),
        "lora": run.lora.model_copy(update={"adapters": "shared"}) if run.lora else None,
    }  # fmt: skip
    return RunFile(run.model_copy(update=update), file.path)


def _of_task(key: str, value: Any, task: str) -> Any:
    """A setting without its entries for other tasks."""
    if key == "select":
        return {metric: weight for metric, weight in value.items() if metric.partition(".")[0] == task}
    if key == "teachers" and isinstance(value, Mapping):
        return {name: teacher for name, teacher in value.items() if name == task}
    if key == "phases" and isinstance(value, list):
        return [{name: _of_task(name, setting, task) for name, setting in phase.items()} for phase in value]
    if key == "freeze" and isinstance(value, Mapping) and "heads" in value:
        return {**value, "heads": [name for name in value["heads"] if name == task]}
    return value
