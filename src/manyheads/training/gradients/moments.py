"""Moments mode: the tasks run one after the other, and the optimizer gets the gradient of each (`adatask.py`)."""

from __future__ import annotations

import torch
from torch import nn

from manyheads.balance.base import Balancer
from manyheads.training.gradients.passes import Passes
from manyheads.training.gradients.step import ActiveParameters, Observed, Step


def kept_by_task(passes: Passes, step: Step, active: ActiveParameters, balancer: Balancer) -> Observed:
    """Leave the sum of gradients, still with a loss scale; keep each task's gradient of the shared parameters."""
    by_task: dict[str, list[tuple[nn.Parameter, torch.Tensor]]] = {}
    total: list[torch.Tensor | None] = [None] * len(active.shared)
    scaled, scale = passes.objective.precision.scaled, passes.scaler.get_scale()
    weights = balancer.weights(step.number, step.tasks)
    for name, gradient in passes.task_by_task(step, weights, active.shared):
        total = [old if new is None else new.clone() if old is None else old.add_(new)
                 for old, new in zip(total, gradient, strict=True)]  # fmt: skip
        by_task[name] = [(p, g.div_(scale)) if scaled else (p, g)
                         for p, g in zip(active.shared, gradient, strict=True) if g is not None]  # fmt: skip
    for parameter, summed in zip(active.shared, total, strict=True):
        parameter.grad = summed
    return Observed(by_task=by_task, shared_summed=True)
