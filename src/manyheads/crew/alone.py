"""The run file of a shared run with one of its tasks: what somebody would train who had this task alone.

What is said there stands, except what speaks of several tasks at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.config.files import RunFile
from manyheads.config.schema import Training
from manyheads.config.strategies import Sharing

OF_MANY = ("balancing", "anchor", "sampling", "shard_layers")
"""Keys of `training` that a task alone has no use for."""
OF_A_TASK = {"weight": 1.0, "start_step": 0, "stop_step": None, "tokens_per_step": None}
"""Its place beside the others, as it is without any."""

Value = float | int | str | bool | None
Own = tuple[tuple[str, Value], ...]
"""Settings of `training` that a single model has of its own, by key."""


def alone(file: RunFile, task: str, own: Mapping[str, Any]) -> RunFile:
    """The run file with one of its tasks, and settings of `training` of its own; None: not given."""
    run = file.run
    given = run.training.model_dump(exclude_unset=True)
    values = {key: _for_one(key, value, task) for key, value in given.items() if key not in OF_MANY} | dict(own)
    if "epochs" in own:
        values.pop("steps", None)
    kept = {key: value for key, value in values.items() if value is not None}
    section = run.tasks[task].model_copy(update=OF_A_TASK)
    lora = run.lora.model_copy(update={"adapters": "shared"}) if run.lora else None
    sharing = Sharing(layer_mix=run.sharing.layer_mix)
    update = {"tasks": {task: section}, "training": Training.model_validate(kept), "sharing": sharing, "lora": lora}
    return RunFile(run.model_copy(update=update), file.path)


def _for_one(key: str, value: Any, task: str) -> Any:
    """A setting without what it says of other tasks."""
    if key == "select":
        return {metric: weight for metric, weight in value.items() if metric.partition(".")[0] == task}
    if key == "teachers" and isinstance(value, Mapping):
        return {name: teacher for name, teacher in value.items() if name == task}
    if key == "phases" and isinstance(value, list):
        return [{name: _for_one(name, setting, task) for name, setting in phase.items()} for phase in value]
    if key == "freeze" and isinstance(value, Mapping) and "heads" in value:
        return {**value, "heads": [name for name in value["heads"] if name == task]}
    return value
