"""The optimizer and its schedule: AdamW without decay on biases and norms, linear warmup and decay (Devlin 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: matrices decay, biases and the weights of norms do not."""
    norms = {
        id(p)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm | nn.RMSNorm)
        for p in module.parameters()
    }
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (free if parameter.ndim < 2 or id(parameter) in norms else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def adamw(model: nn.Module, *, rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW, betas 0.9 and 0.999 (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=rate, fused=True)


def linear_schedule(rate: float, steps: int, warmup: int) -> Callable[[int], float]:
    """Rate of a step (from 0): up linearly over `warmup` steps, then down linearly to 0 at `steps`."""

    def at(step: int) -> float:
        if step < warmup:
            return rate * (step + 1) / warmup
        return rate * max(0.0, (steps - step) / max(1, steps - warmup))

    return at
