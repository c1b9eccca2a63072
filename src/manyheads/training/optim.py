"""The optimizer: AdamW over the parts of a model, without decay on biases and norms (Loshchilov & Hutter 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from manyheads.training.parts import Part

LARGEST_RATE_FACTOR = 3.0


def parameter_groups(parts: Sequence[Part], weight_decay: float) -> list[dict[str, Any]]:
    """Groups by part, and within one: matrices decay, biases and the weights of norms do not. `part` names the part."""
    groups = []
    for part in parts:
        norms = {
            id(parameter)
            for outer in part.modules
            for module in outer.modules()
            if isinstance(module, nn.LayerNorm | nn.RMSNorm)
            for parameter in module.parameters()
        }
        free = [p for p in part.parameters if p.ndim < 2 or id(p) in norms]
        decayed = [p for p in part.parameters if not (p.ndim < 2 or id(p) in norms)]
        for members, decay in ((decayed, weight_decay), (free, 0.0)):
            if members:
                groups.append({"params": members, "weight_decay": decay, "part": part.name})
    return groups


def shared_rate_factor(tasks_in_a_step: int) -> float:
    """What to multiply the encoder's rate by where several tasks train it in one step: `min(sqrt(K), 3)`.

    Of K uncorrelated gradients of equal norm AdamW moves each task at 1 / sqrt(K) of its speed alone; this makes up for it.
    Capped, since the step of tasks that agree is as much longer; give it a longer warmup. Raises ValueError below 1.
    """
    if tasks_in_a_step < 1:
        raise ValueError(f"a step has at least one task, seen {tasks_in_a_step}")
    return min(math.sqrt(tasks_in_a_step), LARGEST_RATE_FACTOR)


def adamw(groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    """Fused AdamW, betas 0.9 and 0.999. Rates are set step by step."""
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, rates: Mapping[str, float]) -> None:
    """The rate of each group, by the name of its part."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["part"]]
