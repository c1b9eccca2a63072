"""AdamW with separate moments of each task for shared parameters (AdaTask). Yang et al. 2023 (AAAI; arXiv:2211.15055).

Each task's gradient of shared parameters makes the update that it would make alone, clipped as it would be alone; the
updates are summed, each times the task's static weight. So each task moves at its own full speed, whatever the size of the
others' gradients: r_k = 1 for all (balance/equal_norm.py). Where K tasks have the same gradient, the step is K times the
static one.

Decided here:
- Moments are named `exp_avg.0`, `exp_avg.1`, ..., by the position of the task in the run file. A parameter of one task alone
  has plain moments and gets AdamW's own step.
- Weights decay once a step, not once for each task.
- A step without a task leaves the task's moments and the parameters unchanged, as in AdamW.
- `.grad` of a shared parameter is the sum over tasks, for the loss scale, the guard and hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.adamw import adamw as update

BETAS, EPSILON = (0.9, 0.999), 1e-8

TaskGradients = Mapping[str, Sequence[tuple[nn.Parameter, torch.Tensor]]]
"""By task, the shared parameters that it reaches, each with its gradient."""


class AdaTask(torch.optim.Optimizer):
    """Fused AdamW with one set of moments for each task on shared parameters."""

    def __init__(self, groups: list[dict[str, Any]], weights: Mapping[str, float]) -> None:
        """`groups`: as for AdamW. `weights`: of each task, in the run file's order. Rates are set step by step."""
        super().__init__(groups, {"lr": 0.0, "betas": BETAS, "eps": EPSILON, "weight_decay": 0.0})
        self.weights = dict(weights)
        self.by_task: TaskGradients = {}
        """Set before each step; `zero_grad` empties it."""

    @property
    def slots(self) -> dict[str, str]:
        """By task, the suffix of the names of its moments."""
        return {task: f".{number}" for number, task in enumerate(self.weights)}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients."""
        super().zero_grad(set_to_none)
        self.by_task = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update. Takes no closure: the gradients of tasks come from outside."""
        if closure is not None:
            raise ValueError("AdaTask takes no closure; set `by_task`, then call step()")
        group_of = {id(p): number for number, group in enumerate(self.param_groups) for p in group["params"]}
        shared = {id(p): p for pairs in self.by_task.values() for p, _ in pairs}
        for parameter in shared.values():
            group = self.param_groups[group_of[id(parameter)]]
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        for task, pairs in self.by_task.items():
            for number, group in enumerate(self.param_groups):
                mine = [(p, gradient) for p, gradient in pairs if group_of[id(p)] == number]
                self._update(mine, self.slots[task], group, rate=group["lr"] * self.weights[task], decay=0.0)
        for group in self.param_groups:
            own = [(p, p.grad) for p in group["params"] if p.grad is not None and id(p) not in shared]
            self._update(own, "", group, rate=group["lr"], decay=group["weight_decay"])

    def _update(
        self,
        pairs: Sequence[tuple[nn.Parameter, torch.Tensor]],
        slot: str,
        group: Mapping[str, Any],
        *,
        rate: float,
        decay: float,
    ) -> None:
        """AdamW's update of some parameters of a group, with the moments that end in `slot`."""
        if not pairs:
            return
        kept = [self._moments(parameter, slot) for parameter, _ in pairs]
        means, squares, counts = (list(column) for column in zip(*kept, strict=True))
        beta1, beta2 = group["betas"]
        update(
            [p for p, _ in pairs], [g for _, g in pairs], means, squares, [], counts, fused=True, amsgrad=False,
            beta1=beta1, beta2=beta2, lr=rate, weight_decay=decay, eps=group["eps"], maximize=False,
        )  # fmt: skip

    def _moments(self, parameter: nn.Parameter, slot: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean, mean square, and step count, created when first needed."""
        state = self.state[parameter]
        if f"step{slot}" not in state:
            state[f"exp_avg{slot}"] = torch.zeros_like(parameter)
            state[f"exp_avg_sq{slot}"] = torch.zeros_like(parameter)
            state[f"step{slot}"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return state[f"exp_avg{slot}"], state[f"exp_avg_sq{slot}"], state[f"step{slot}"]


def clip_by_task(by_task: TaskGradients, own: Mapping[str, Sequence[nn.Parameter]], most: float) -> torch.Tensor:
    """Clip each task's gradient, of shared and own parameters, to a norm, as if it trained alone.

    `own`: the parameters of each task alone, with their `.grad`. Returns the root of the sum of squared norms before that.
    """
    norms = []
    for task, pairs in by_task.items():
        gradients = [*(g for _, g in pairs), *(p.grad for p in own.get(task, ()) if p.grad is not None)]
        norm = torch.nn.utils.get_total_norm(gradients)
        factor = (most / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
        norms.append(norm)
    return torch.stack(norms).norm() if norms else torch.zeros(())
