"""GradNorm: weights learned so that all tasks pull equally at the last shared layer. Chen 2018 (arXiv:1711.02257).

With `G_t` the norm of the weighted gradient and `r_t` the task's loss over its first one, divided by the mean of these, the
weights descend `sum_t |G_t - mean(G) r_t^alpha|`, the right side held constant, and are scaled to a mean of 1.

Decided here:
- Adam on the logarithm of the weights (rate 0.025, as in the paper). The plain gradient has the size of a gradient norm,
  which differs a hundredfold between tasks and shrinks in training; so plain steps have no effect or are unstable, and can
  make a weight negative. Here a step changes no weight by much more than 2.5 %.
- Static weights are relative pulls: norms are compared before the static weight, which is applied afterwards.
- Tasks are compared with those in the same step. A single task, or one without gradient or positive first loss, stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from manyheads.balance.adam import Moments, adam_step
from manyheads.balance.base import Balancer, Mode, all_finite, checked


class GradNormBalancer(Balancer):
    """Learned log weights, and the first loss of each task."""

    mode: ClassVar[Mode] = "last-layer"
    saved: ClassVar[tuple[str, ...]] = ("log_factor", "first", "adam")

    def __init__(self, weights: Mapping[str, float], *, alpha: float = 1.5, rate: float = 0.025) -> None:
        """`alpha`: how much more slow tasks should pull; 0 for not at all. Raises UsageError."""
        super().__init__(weights)
        self.alpha = checked("gradnorm", "alpha", alpha, 0)
        self.rate = checked("gradnorm", "rate", rate, 0, 1)
        self._adam: Moments = {}
        self._log_factor = dict.fromkeys(self.tasks, 0.0)
        self._first: dict[str, float] = {}

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """Static weight times learned factor."""
        return self._given({task: self.static[task] * math.exp(self._log_factor[task]) for task in present}, present)

    def observe_norms(self, step: int, norms: Mapping[str, float], losses: Mapping[str, float]) -> None:
        """One step of the weights."""
        if not all_finite(norms, losses):
            return
        for task, loss in losses.items():
            if loss > 0:
                self._first.setdefault(task, loss)
        tasks = [task for task in self.tasks if norms.get(task, 0) > 0 and task in self._first and task in losses]
        if len(tasks) < 2:
            return
        pull = {task: norms[task] * math.exp(self._log_factor[task]) for task in tasks}
        mean_pull = sum(pull.values()) / len(tasks)
        remaining = {task: losses[task] / self._first[task] for task in tasks}
        mean_remaining = sum(remaining.values()) / len(tasks)
        gradients = {}
        for task in tasks:
            rate = max(remaining[task] / mean_remaining, 0.0) if mean_remaining > 0 else 1.0
            gap = pull[task] - mean_pull * rate**self.alpha
            # d|gap| / d log weight, in units of the mean pull; rounding errors are ignored
            gradients[task] = math.copysign(pull[task] / mean_pull, gap) if abs(gap) > 1e-9 * mean_pull else 0.0
        adam_step(self._log_factor, gradients, self._adam, self.rate)
        mean = sum(map(math.exp, self._log_factor.values())) / len(self._log_factor)
        self._log_factor = {task: value - math.log(mean) for task, value in self._log_factor.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state; tasks it lacks start from 0."""
        super().load_state(state)
        self._log_factor = dict.fromkeys(self.tasks, 0.0) | self._log_factor
