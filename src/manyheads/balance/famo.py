"""FAMO: all losses should fall at the same relative speed, without per-task gradients. Liu 2023 (arXiv:2306.03792).

`weight_t` is proportional to `z_t / L_t` with `z = softmax(logits)`. After the update the losses of the same batch are
read again, and the logits descend along `log before - log after`: a task that fell less than the others gains.

Decided here:
- `L_t` in the weight is the loss last seen (after the last update), not this step's, which a step of several micro-packs
  does not know before its backward. On one fixed batch both are the same number. Before any loss, it is 1.
- Losses are taken to be at least 0 with a minimum of 0, as the paper does by default; a loss counts as at least 1e-8.
- Logits learn by Adam at 0.025 with an L2 pull of `decay` to 0, as the paper's code; only tasks in the step are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from manyheads.balance.adam import Adam
from manyheads.balance.base import Balancer, all_finite, checked

LEAST_LOSS = 1e-8


class FamoBalancer(Balancer):
    """A logit and the loss last seen of each task."""

    needs_losses_after: ClassVar[bool] = True

    def __init__(self, weights: Mapping[str, float], *, rate: float = 0.025, decay: float = 0.01) -> None:
        """`rate` and `decay` of the logits (the paper's alpha and gamma). Raises UsageError."""
        super().__init__(weights)
        self._adam = Adam(checked("famo", "rate", rate, 0, 1))
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
        """Remembers the losses."""
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
        self._adam.step(self._logits, gradients)

    def state(self) -> dict[str, Any]:
        """Logits, losses last seen and Adam's moments."""
        return {"logits": dict(self._logits), "losses": dict(self._losses), "adam": dict(self._adam.moments)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state."""
        self._check_state(state, ("logits", "losses", "adam"))
        self._logits = dict.fromkeys(self.tasks, 0.0) | state["logits"]
        self._losses = dict(state["losses"])
        self._adam.moments = {task: list(moments) for task, moments in state["adam"].items()}
