"""AdamW over the parts of a model, without weight decay on biases and norms (Loshchilov & Hutter 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from manyheads.training.parts import Part

LARGEST_RATE_FACTOR = 3.0
BALANCING = "balancing"
"""Name of the parameter group of learned loss weights."""


def parameter_groups(parts: Sequence[Part], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: for each part, matrices with weight decay, and biases and norms without. `part` names the part."""
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
    """Factor on the encoder's rate where K tasks train it in one step: `min(sqrt(K), 3)`.

    With K uncorrelated gradients of equal norm AdamW moves each task at 1 / sqrt(K) of its speed alone; this compensates.
    Capped, as the step of tasks that agree grows by the same factor; use a longer warmup with it. Raises ValueError below 1.

    >>> shared_rate_factor(1), shared_rate_factor(4), shared_rate_factor(100)
    (1.0, 2.0, 3.0)
    """
    if tasks_in_a_step < 1:
        raise ValueError(f"a step has at least one task, seen {tasks_in_a_step}")
    return min(math.sqrt(tasks_in_a_step), LARGEST_RATE_FACTOR)


def adamw(groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    """Fused AdamW with betas 0.9 and 0.999. Rates are set step by step."""
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, rates: Mapping[str, float]) -> None:
    """Set the rate of each group, by the name of its part."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["part"]]
