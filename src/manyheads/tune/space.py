"""The settings to tune: those that a run file leaves to the recipe, each in a range around the recipe's value.

Decided here: a setting given in the run file is fixed, unless it is named with `--keys`. Ranges are logarithmic and narrow,
as the recipe is a good start and a few dozen trials have to cover them. The weight of the first task is fixed, since only
the ratios of weights matter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.errors import UsageError
from manyheads.text.values import did_you_mean

if TYPE_CHECKING:
    from manyheads.config.schema import Run

Value = float | str
Values = Mapping[str, Value]
"""Values of a trial, by setting."""

RATE, HEAD_RATE, TOPS, LAYERS, WEIGHTS = (
    "learning_rate", "head_learning_rate", "private_tops", "private_layers", "weights",
)  # fmt: skip
NO_TASK, EVERY_TASK = "no task", "every task"
"""Values of TOPS besides the names of tasks, which contain no space."""
FACTORS = {
    RATE: (1 / 4, 4.0),
    HEAD_RATE: (1 / 5, 5.0),
    "epochs": (1 / 3, 2.0),
    "steps": (1 / 3, 2.0),
    WEIGHTS: (1 / 3, 3.0),
}
"""Ranges, as multiples of the default."""
DIGITS = 3
"""Significant digits of proposed values."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting to tune. Its repr is part of a tuning's identity, so never rename a field."""

    name: str
    usual: Value
    """The default: the recipe's value."""
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    """Instead of a range."""
    whole: bool = False
    """Whether values are integers."""


@dataclass(frozen=True, slots=True)
class Space:
    """The settings to tune, and those that are fixed."""

    settings: tuple[Setting, ...]
    fixed: Mapping[str, str]
    """Settings that are not tuned, and why."""
    depth: int
    """Layers of the encoder."""
    tasks: tuple[str, ...]

    @property
    def defaults(self) -> dict[str, Value]:
        """The values of the first trial: the run file as it is."""
        return {setting.name: setting.usual for setting in self.settings}

    def changes(self, values: Values) -> tuple[str, ...]:
        """`KEY=VALUE` changes of the run file; none for the defaults.

        >>> space = Space((Setting("epochs", 4.0, 1.0, 8.0),), fixed={}, depth=6, tasks=("entities",))
        >>> space.changes({"epochs": 2.5}), space.changes(space.defaults)
        (('training.epochs=2.5',), ())
        """
        private = values.get(TOPS, NO_TASK) != NO_TASK
        if all(values[name] == default for name, default in self.defaults.items() if private or name != LAYERS):
            return ()
        found = dict[str, Any]()
        for name, value in values.items():
            if name.startswith(f"{WEIGHTS}."):
                found[f"tasks.{name.partition('.')[2]}.weight"] = value
            elif name not in (TOPS, LAYERS):
                found[f"training.{name}"] = value
        if private:
            found |= self._tops(str(values[TOPS]), int(values.get(LAYERS, 1)))
        return tuple(f"{key}={json.dumps(value)}" for key, value in found.items())

    def _tops(self, owner: str, layers: int) -> dict[str, Any]:
        found: dict[str, Any] = {"sharing.shared_layers": self.depth - layers}
        if owner != EVERY_TASK:
            others = [task for task in self.tasks if task != owner]
            found["sharing.groups"] = {others[0]: others}  # a group may be named after one of its tasks
        return found


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a run is trained with if nothing is tuned."""

    rate: float
    head_rate: float
    epochs: float
    depth: int
    """Layers of the encoder."""


def space_of(run: Run, defaults: Defaults, keys: Sequence[str] = ()) -> Space:
    """The search space of a run. `keys` limits it to these settings, which may be set in the run file. Raises UsageError."""
    every, given, untunable = _all_settings(run, defaults), _given(run), _untunable(run, defaults.depth)
    _check_keys(keys, list(dict.fromkeys(setting.name.partition(".")[0] for setting in every)), untunable)
    settings, fixed = list[Setting](), dict(untunable)
    for setting in every:
        if _key(setting) in untunable or (keys and _key(setting) not in keys):
            continue
        if not keys and setting.name in given:
            fixed[setting.name] = "set in the run file"
        elif setting.choices or setting.low < setting.high:
            settings.append(setting)
    weights = [setting.name for setting in settings if setting.name.startswith(f"{WEIGHTS}.")]
    if len(weights) == len(run.tasks):
        settings = [setting for setting in settings if setting.name != weights[0]]
    if not settings:
        why = "; ".join(f"{name}: {reason}" for name, reason in fixed.items())
        raise UsageError(
            f"there is nothing to tune ({why}); leave a setting out of the run file, or name it with --keys"
        )
    return Space(tuple(settings), fixed, defaults.depth, tuple(run.tasks))


def _key(setting: Setting) -> str:
    """The name in `--keys` that selects a setting."""
    return TOPS if setting.name == LAYERS else setting.name.partition(".")[0]


def _check_keys(keys: Sequence[str], known: Sequence[str], untunable: Mapping[str, str]) -> None:
    for key in keys:
        if key not in known:
            raise UsageError(f"--keys {key}: there is no such setting to tune{did_you_mean(key, known)} "
                             f"(known: {', '.join(known)})")  # fmt: skip
    for key in keys:
        if key in untunable:
            raise UsageError(f"--keys {key}: {untunable[key]}; leave {key} out")


def _all_settings(run: Run, defaults: Defaults) -> list[Setting]:
    training, most = run.training, max(1, defaults.depth // 3)
    length = Setting("epochs", defaults.epochs)
    if training.steps is not None:
        length = Setting("steps", training.steps, whole=True)
    names = tuple(run.tasks)
    owners = (NO_TASK, EVERY_TASK, *(names if len(names) > 2 else ()))  # with two tasks, one is as good as both
    return [
        _around(Setting(RATE, defaults.rate)),
        _around(Setting(HEAD_RATE, defaults.head_rate)),
        _around(length),
        Setting(TOPS, NO_TASK, choices=owners),
        Setting(LAYERS, 1, low=1, high=most, whole=True),
        *(_around(Setting(f"{WEIGHTS}.{name}", section.weight)) for name, section in run.tasks.items()),
    ]  # fmt: skip


def _around(setting: Setting) -> Setting:
    usual, (low, high) = float(setting.usual), FACTORS[setting.name.partition(".")[0]]
    if setting.whole:
        return Setting(setting.name, int(usual), max(1, round(usual * low)), max(1, round(usual * high)), whole=True)
    return Setting(setting.name, rounded(usual), rounded(usual * low), rounded(usual * high))


def rounded(value: float) -> float:
    """Rounded to the significant digits of a proposal.

    >>> rounded(0.00012345)
    0.000123
    """
    return float(f"{value:.{DIGITS}g}")


def _given(run: Run) -> set[str]:
    """The settings that a run file gives."""
    given = run.training.model_fields_set
    names = {name for name in (RATE, HEAD_RATE, "epochs", "steps") if name in given}
    if "sharing" in run.model_fields_set:
        names |= {TOPS, LAYERS}
    return names | {f"{WEIGHTS}.{name}" for name, section in run.tasks.items() if "weight" in section.model_fields_set}


def _untunable(run: Run, depth: int) -> dict[str, str]:
    """Settings that cannot be tuned with this run, and why."""
    training, found = run.training, dict[str, str]()
    if len(run.tasks) == 1:
        found |= dict.fromkeys((TOPS, WEIGHTS), "the run has one task")
    if depth < 2:
        found.setdefault(TOPS, "the encoder has one layer")
    if run.lora is not None:
        found.setdefault(TOPS, "with lora the layers are frozen")
    if training.shard_layers:
        found.setdefault(TOPS, "training.shard_layers needs all layers to be shared")
    if training.freeze.encoder:
        found |= {RATE: "training.freeze freezes the encoder"}
        found.setdefault(TOPS, "training.freeze freezes the encoder")
    if isinstance(training.phases, list):
        found |= dict.fromkeys((RATE, HEAD_RATE, "epochs"), "training.phases sets it for each phase")
    return found
