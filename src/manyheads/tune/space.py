"""What is tuned: the settings that a run file leaves to the recipe, each in a range around the recipe's own value.

Decided here: a setting that its user wrote is held, unless it is named with `--keys`. Ranges are logarithmic and narrow: the
recipe is a good start, and a few dozen trials cover them. Of the tasks' weights the first one is held, since only their
ratios matter.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.errors import UsageError

if TYPE_CHECKING:
    from manyheads.config.schema import Run

Value = float | str
Values = Mapping[str, Value]
"""What a trial tries, by setting."""

RATE, HEAD_RATE, TOPS, LAYERS, WEIGHTS = (
    "learning_rate", "head_learning_rate", "private_tops", "private_layers", "weights",
)  # fmt: skip
NO_TASK, EVERY_TASK = "no task", "every task"
"""Of TOPS; the others are names of tasks, which hold no blank."""
FACTORS = {
    RATE: (1 / 4, 4.0),
    HEAD_RATE: (1 / 5, 5.0),
    "epochs": (1 / 3, 2.0),
    "steps": (1 / 3, 2.0),
    WEIGHTS: (1 / 3, 3.0),
}
"""From where to where, around the usual value."""
DIGITS = 3
"""That count, of a value that is tried."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that is tried."""

    name: str
    usual: Value
    """The recipe's."""
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    """Instead of a range."""
    whole: bool = False
    """Whether it is a whole number."""


@dataclass(frozen=True, slots=True)
class Space:
    """All that is tried, and what is not."""

    settings: tuple[Setting, ...]
    held: Mapping[str, str]
    """Settings that are not tried, and why."""
    depth: int
    """Layers of the encoder."""
    tasks: tuple[str, ...]

    @property
    def usual(self) -> dict[str, Value]:
        """What the recipe would do."""
        return {setting.name: setting.usual for setting in self.settings}

    def changes(self, values: Values) -> tuple[str, ...]:
        """`KEY=VALUE` of the run file; none for the usual values."""
        apart = values.get(TOPS, NO_TASK) != NO_TASK
        if all(values[name] == usual for name, usual in self.usual.items() if apart or name != LAYERS):
            return ()
        found = dict[str, Any]()
        for name, value in values.items():
            if name.startswith(f"{WEIGHTS}."):
                found[f"tasks.{name.partition('.')[2]}.weight"] = value
            elif name not in (TOPS, LAYERS):
                found[f"training.{name}"] = value
        if apart:
            found |= self._tops(str(values[TOPS]), int(values.get(LAYERS, 1)))
        return tuple(f"{key}={json.dumps(value)}" for key, value in found.items())

    def _tops(self, owner: str, layers: int) -> dict[str, Any]:
        found: dict[str, Any] = {"sharing.shared_layers": self.depth - layers}
        if owner != EVERY_TASK:
            others = [task for task in self.tasks if task != owner]
            found["sharing.groups"] = {others[0]: others}  # a group may have the name of a task that is in it
        return found


@dataclass(frozen=True, slots=True)
class Usual:
    """What a run would be trained with, untuned."""

    rate: float
    head_rate: float
    epochs: float
    depth: int


def space_of(run: Run, usual: Usual, keys: Sequence[str] = ()) -> Space:
    """What to try with a run. `keys`: just these, also where the run file sets them. Raises UsageError."""
    known = {setting.name.partition(".")[0]: "" for setting in _all(run, usual)} | {TOPS: "", WEIGHTS: ""}
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"--keys {key}: there is no such setting to tune{hint} (known: {', '.join(known)})")
    written, never = _written(run), _never(run, usual.depth)
    for key in keys:
        if key in never:
            raise UsageError(f"--keys {key}: {never[key]}; leave {key} out")
    held, settings = dict(never), list[Setting]()
    for setting in _all(run, usual):
        name = setting.name.partition(".")[0] if setting.name != LAYERS else TOPS
        if name in never or (keys and name not in keys):
            continue
        if not keys and setting.name in written:
            held[setting.name] = "set in the run file"
            continue
        if setting.choices or setting.low < setting.high:
            settings.append(setting)
    weights = [setting.name for setting in settings if setting.name.startswith(f"{WEIGHTS}.")]
    if len(weights) == len(run.tasks):
        settings = [setting for setting in settings if setting.name != weights[0]]
    if not settings:
        why = "; ".join(f"{name}: {reason}" for name, reason in held.items())
        raise UsageError(
            f"there is nothing to tune ({why}); leave a setting out of the run file, or name it with --keys"
        )
    return Space(tuple(settings), held, usual.depth, tuple(run.tasks))


def _all(run: Run, usual: Usual) -> list[Setting]:
    """Every setting that could be tried."""
    training, most = run.training, max(1, usual.depth // 3)
    duration = (
        Setting("epochs", usual.epochs) if training.steps is None else Setting("steps", training.steps, whole=True)
    )
    names = tuple(run.tasks)
    owners = (NO_TASK, EVERY_TASK, *(names if len(names) > 2 else ()))  # of two tasks one is as good as both
    return [
        _around(Setting(RATE, usual.rate)),
        _around(Setting(HEAD_RATE, usual.head_rate)),
        _around(duration),
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
    """To the digits that count."""
    return float(f"{value:.{DIGITS}g}")


def _written(run: Run) -> set[str]:
    """The settings that a run file says something of."""
    given = run.training.model_fields_set
    names = {name for name in (RATE, HEAD_RATE, "epochs", "steps") if name in given}
    if "sharing" in run.model_fields_set:
        names |= {TOPS, LAYERS}
    return names | {f"{WEIGHTS}.{name}" for name, section in run.tasks.items() if "weight" in section.model_fields_set}


def _never(run: Run, depth: int) -> dict[str, str]:
    """Settings that are not to be tried with a run, and why."""
    training, found = run.training, dict[str, str]()
    if len(run.tasks) == 1:
        found |= dict.fromkeys((TOPS, WEIGHTS), "the run has one task")
    if depth < 2:
        found.setdefault(TOPS, "the encoder has one layer")
    if run.lora is not None:
        found.setdefault(TOPS, "lora leaves the layers as they are")
    if training.shard_layers:
        found.setdefault(TOPS, "training.shard_layers needs all layers to be shared")
    if training.freeze.encoder:
        found |= {RATE: "training.freeze leaves the encoder as it is"}
        found.setdefault(TOPS, "training.freeze leaves the encoder as it is")
    if isinstance(training.phases, list):
        found |= dict.fromkeys((RATE, HEAD_RATE, "epochs"), "training.phases says it for each phase")
    return found
