"""Bad steps: a step whose losses or gradient cannot be right is skipped, and too many of them roll the run back.

A step is bad when a loss or the norm of its gradient is not finite, or a loss is a spike: `spike` times the task's running
mean and above 3 (1 is chance). It changes no weight and no statistic. When more than `skips` of the last 100 steps were bad,
the run goes back to its last checkpoint and skips the batches of those steps, as was done by hand for PaLM (Chowdhery et
al. 2022, section 5.1); when that happens a second time, it ends.

Decided here: limits are known before the step, from the steps before it, so that a GPU can judge its step without the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MEMORY = 0.98
"""Weight of the past in a task's running mean of losses: about the last 50 steps."""
SETTLED = 50
"""Steps of a task before its spikes are looked for."""
LEAST_SPIKE = 3.0
"""No loss below this is a spike: three times chance."""
WINDOW = 100
"""Steps over which bad ones are counted."""
LARGEST = 3.4e38
"""Just below the largest float32: the limit of a loss that only has to be finite."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A bad step."""

    step: int
    reason: str
    tasks: tuple[str, ...]
    """Those to blame."""
    rows: Mapping[str, Sequence[int]]
    """Of their training tables, in the order of the step."""
    places: tuple[str, ...]
    """The first of these rows, as in errors: `file:line`."""

    def line(self) -> str:
        """For the user."""
        count = sum(map(len, self.rows.values()))
        more = f" and {count - len(self.places):,} more" if count > len(self.places) else ""
        return f"step {self.step}: skipped, {self.reason} (rows {', '.join(self.places)}{more})"

    def to_json(self) -> dict[str, Any]:
        """For the log."""
        rows = {name: list(found) for name, found in self.rows.items()}
        return {"step": self.step, "skipped": self.reason, "tasks": list(self.tasks), "rows": rows}


def find_fault(
    losses: Mapping[str, float], limits: Sequence[float], norm: float | None
) -> tuple[str, tuple[str, ...]] | None:
    """Why a step is bad, and the tasks to blame if losses show them; None for a good step. `norm` None: not judged.

    >>> find_fault({"ner": float("nan"), "pairs": 1.2}, [3.4e38, 3.4e38], norm=0.5)
    ('the loss of ner is not finite', ('ner',))
    """
    infinite = tuple(name for name, value in losses.items() if not math.isfinite(value))
    if infinite:
        return f"the loss of {', '.join(infinite)} is not finite", infinite
    high = {name: (value, most) for (name, value), most in zip(losses.items(), limits, strict=True) if value > most}
    if high:
        shown = ", ".join(f"{name} {value:.3g} (limit {most:.3g})" for name, (value, most) in high.items())
        return f"the loss jumped: {shown}", tuple(high)
    if norm is not None and not math.isfinite(norm):
        return "the gradient is not finite", ()
    return None


class Guard:
    """Limits of losses, and the count of bad steps. Part of a run's state."""

    def __init__(self, skips: int = 10, spike: float | None = 10.0) -> None:
        """`skips`: bad steps in 100 that are tolerated. `spike`: multiple of the running mean; None: no limit."""
        self.skips = skips
        self.spike = spike
        self.rolled_back = False
        """Whether the run has gone back to a checkpoint."""
        self.avoided: frozenset[int] = frozenset()
        """Steps whose batches are skipped."""
        self._means: dict[str, list[float]] = {}
        self._bad: list[int] = []

    def limits(self, names: Sequence[str]) -> list[float]:
        """The largest loss of each task that is no spike, rounded to float32."""
        return [float(np.float32(self._limit(name))) for name in names]

    def _limit(self, name: str) -> float:
        mean, count = self._means.get(name, (0.0, 0))
        if self.spike is None or count < SETTLED:
            return LARGEST
        return max(self.spike * mean / (1 - MEMORY**count), LEAST_SPIKE)

    def accept(self, losses: Mapping[str, float]) -> None:
        """Note the losses of a good step."""
        for name, value in losses.items():
            mean, count = self._means.get(name, (0.0, 0))
            self._means[name] = [MEMORY * mean + (1 - MEMORY) * value, count + 1]

    def refuse(self, step: int) -> bool:
        """Note a bad step; whether there are too many now."""
        self._bad = [one for one in self._bad if one > step - WINDOW] + [step]
        return len(self._bad) > self.skips

    def roll_back(self, bad: Sequence[int]) -> None:
        """After the run has gone back to a checkpoint: avoid these steps from now on, and count bad ones from 0."""
        self.rolled_back = True
        self.avoided = self.avoided | set(bad)
        self._bad = []

    @property
    def bad(self) -> list[int]:
        """The bad steps within the window."""
        return list(self._bad)

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "turned_back": self.rolled_back,
            "avoided": sorted(self.avoided),
            "bad": self._bad,
            "means": self._means,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.rolled_back, self.avoided = bool(state["turned_back"]), frozenset(state["avoided"])
        self._bad = [int(step) for step in state["bad"]]
        self._means = {name: [float(mean), int(count)] for name, (mean, count) in state["means"].items()}
