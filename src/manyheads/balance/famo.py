"""FAMO: losses should fall at the same relative speed, without gradients per task. Liu 2023 (arXiv:2306.03792).

`weight_t` is proportional to `z_t / L_t` with `z = softmax(logits)`. After the update the losses of the same batch are
computed again, and the logits descend along `log before - log after`: a task whose loss fell less gains weight.

Decided here:
- `L_t` in the weight is the last known loss (after the last update), not this step's, which is unknown before the backward
  of a step of several micro-packs. On one fixed batch both are equal. Before any loss, it is 1.
- Losses are assumed to have a minimum of 0, as by default in the paper, and are clamped to at least 1e-8.
- Logits are learned by Adam at 0.025 with an L2 decay of `decay`, as in the paper's code; only tasks in a step are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from manyheads.balance.adam import Moments, adam_step
from manyheads.balance.base import Balancer, all_finite, checked

LEAST_LOSS = 1e-8


class FamoBalancer(Balancer):
    """A logit and the last known loss of each task."""

    needs_losses_after: ClassVar[bool] = True
    saved: ClassVar[tuple[str, ...]] = ("logits", "losses", "adam")

    def __init__(self, weights: Mapping[str, float], *, rate: float = 0.025, decay: float = 0.01) -> None:
        """`rate` and `decay` of the logits (the paper's alpha and gamma). Raises UsageError."""
        super().__init__(weights)
        self.rate = checked("famo", "rate", rate, 0, 1)
        self._adam: Moments = {}
        self.decay = checked("famo", "decay", decay, 0, 1)
        self._logits = dict.fromkeys(self.tasks, 0.0)
        self._losses: dict[str, float] = {}

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """Static weight times factor; the factors of all tasks of the run have a mean of 1."""
        logs = {task: self._logits[task] - math.log(self._losses.get(task, 1.0)) for task in self.tasks}
        largest = max(logs.values())
        factors = {task: math.exp(value - largest) for task, value in logs.items()}
        mean = sum(factors.values()) / len(factors)
        return self._given({task: self.static[task] * factors[task] / mean for task in present}, present)

    def observe(self, step: int, losses: Mapping[str, float]) -> None:
        """Store the losses."""
        if all_finite(losses):
            self._losses |= {task: max(loss, LEAST_LOSS) for task, loss in losses.items()}

    def observe_after(self, step: int, before: Mapping[str, float], after: Mapping[str, float]) -> None:
        """One step of the logits, along the softmax's Jacobian times the falls in log loss."""
        if not all_finite(before, after):
            return
        self.observe(step, after)
        tasks = [task for task in self.tasks if task in before and task in after]
        if len(tasks) < 2:
            return
        falls = {t: math.log(max(before[t], LEAST_LOSS)) - math.log(max(after[t], LEAST_LOSS)) for t in tasks}
        largest = max(self._logits[task] for task in tasks)
        shares = {task: math.exp(self._logits[task] - largest) for task in tasks}
        total = sum(shares.values())
        mean_fall = sum(shares[task] / total * falls[task] for task in tasks)
        gradients = {
            task: shares[task] / total * (falls[task] - mean_fall) + self.decay * self._logits[task] for task in tasks
        }
        adam_step(self._logits, gradients, self._adam, self.rate)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state; tasks it lacks start from 0."""
        super().load_state(state)
        self._logits = dict.fromkeys(self.tasks, 0.0) | self._logits
