"""AdamW with moments of each task's own for the parameters that tasks share. Yang et al. 2023 (AAAI; arXiv:2211.15055).

Each task's gradient of what is shared makes the update that it would make alone, clipped as it would be alone; the updates
are added up, each times the task's static weight. So each task moves at its own full speed, whatever the size of the
others' gradients: r_k = 1 for all (balance/equal_norm.py). Where K tasks have the same gradient, the step is K times the
static one.

Decided here:
- Moments are kept under `exp_avg.0`, `exp_avg.1`, ..., by the place of the task in the run file. A parameter that one task
  alone trains has plain ones, and the step that AdamW would make.
- Weights decay once a step, not once for each task.
- A task that a step does not reach leaves its moments and the parameters as they are, as in AdamW.
- `.grad` of a shared parameter is the sum over tasks: what a loss scale, the guard and hooks look at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.adamw import adamw as update

BETAS, EPSILON = (0.9, 0.999), 1e-8

Given = Mapping[str, Sequence[tuple[nn.Parameter, torch.Tensor]]]
"""By task, the parameters that are shared and its gradient of each; those without one left out."""


class AdaTask(torch.optim.Optimizer):
    """AdamW, fused, whose shared parameters have one set of moments for each task."""

    def __init__(self, groups: list[dict[str, Any]], weights: Mapping[str, float]) -> None:
        """`groups`: as for AdamW. `weights`: of each task of the run, in its order. Rates are set step by step."""
        super().__init__(groups, {"lr": 0.0, "betas": BETAS, "eps": EPSILON, "weight_decay": 0.0})
        self.weights = dict(weights)
        self.given: Given = {}
        """Must be set before each step; `zero_grad` empties it."""

    @property
    def slots(self) -> dict[str, str]:
        """By task, what the names of its moments end in."""
        return {task: f".{number}" for number, task in enumerate(self.weights)}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        super().zero_grad(set_to_none)
        self.given = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update. A closure is not taken: the gradients of tasks come from outside."""
        if closure is not None:
            raise ValueError("AdaTask takes no closure; set `given`, then call step()")
        group_of = {id(p): number for number, group in enumerate(self.param_groups) for p in group["params"]}
        shared = {id(p): p for pairs in self.given.values() for p, _ in pairs}
        for parameter in shared.values():
            group = self.param_groups[group_of[id(parameter)]]
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        for task, pairs in self.given.items():
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
        """AdamW's update of some parameters of a group, with the moments of a slot."""
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
        """Mean, mean square, and count of steps, made when they are first needed."""
        state = self.state[parameter]
        if f"step{slot}" not in state:
            state[f"exp_avg{slot}"] = torch.zeros_like(parameter)
            state[f"exp_avg_sq{slot}"] = torch.zeros_like(parameter)
            state[f"step{slot}"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return state[f"exp_avg{slot}"], state[f"exp_avg_sq{slot}"], state[f"step{slot}"]


def clip_apart(given: Given, own: Mapping[str, Sequence[nn.Parameter]], most: float) -> torch.Tensor:
    """Clip each task's gradient, of what is shared and of its own, to a norm, as if it trained alone.

    `own`: of each task, the parameters that it alone trains, with their `.grad`. The root of the sum of squares of the norms
    before that.
    """
    norms = []
    for task, pairs in given.items():
        gradients = [*(g for _, g in pairs), *(p.grad for p in own.get(task, ()) if p.grad is not None)]
        norm = torch.nn.utils.get_total_norm(gradients)
        factor = (most / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
        norms.append(norm)
    return torch.stack(norms).norm() if norms else torch.zeros(())
