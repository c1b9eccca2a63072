"""Dynamic weight average: tasks whose loss falls slowly get more weight. Liu, Johns & Davison 2019 (arXiv:1803.10704).

`factor_t = K softmax_t(r_t / temperature)` with `r_t = L_t(last) / L_t(before last)`. The paper averages losses over
epochs. Here tasks have epochs of different lengths, so averages are over consecutive windows of `window` steps *in which the
task took part*, and weights change when a window ends. Until a task has two windows, its ratio is 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from manyheads.balance.base import Balancer, all_finite, checked
from manyheads.errors import UsageError


class DwaBalancer(Balancer):
    """Two finished windows and a running one per task."""

    saved: ClassVar[tuple[str, ...]] = ("running", "means")

    def __init__(self, weights: Mapping[str, float], *, temperature: float = 2.0, window: float = 100) -> None:
        """`temperature`: higher is closer to equal weights. `window`: whole steps. Raises UsageError."""
        super().__init__(weights)
        self.temperature = checked("dwa", "temperature", temperature, 1e-3)
        self.window = int(checked("dwa", "window", window, 1))
        if self.window != window:
            raise UsageError(f"balancing by dwa: window is {window}; give a whole number of steps")
        self._running: dict[str, list[float]] = {}  # task: [sum, steps]
        self._means: dict[str, list[float]] = {}  # task: the last window's, after the one before it

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """Static weight times factor; the factors of all tasks of the run have a mean of 1."""
        ratios = {task: self._ratio(task) / self.temperature for task in self.tasks}
        largest = max(ratios.values())
        exponentials = {task: math.exp(ratio - largest) for task, ratio in ratios.items()}
        mean = sum(exponentials.values()) / len(exponentials)
        return self._given({task: self.static[task] * exponentials[task] / mean for task in present}, present)

    def observe(self, step: int, losses: Mapping[str, float]) -> None:
        """Add the losses to the running windows."""
        if not all_finite(losses):
            return
        for task, loss in losses.items():
            total, steps = self._running.get(task, [0.0, 0])
            total, steps = total + loss, steps + 1
            if steps == self.window:
                self._means[task] = [*self._means.get(task, []), total / steps][-2:]
                total, steps = 0.0, 0
            self._running[task] = [total, steps]

    def _ratio(self, task: str) -> float:
        """Ratio of a task's last two mean losses; 1 until two windows are known, or after one without a loss."""
        means = self._means.get(task, [])
        return means[1] / means[0] if len(means) == 2 and means[0] > 0 else 1.0
