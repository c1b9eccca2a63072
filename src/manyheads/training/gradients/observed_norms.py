"""Norms mode: the weighted sum of losses, with norms of the tasks' gradients; a task's own parameters have its static weight.

In the steps for which the balancer wants norms at everything that tasks share, the tasks run one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from manyheads.balance.base import Balancer
from manyheads.training.gradients.norms import head_norms, pulls, unweighted
from manyheads.training.gradients.passes import Passes, scale_gradients
from manyheads.training.gradients.step import ActiveParameters, Observed, Step


def with_norms(passes: Passes, step: Step, active: ActiveParameters, balancer: Balancer) -> Observed:
    """Leave the weighted sum of gradients; observe norms at what heads read, and now and then at all shared parameters."""
    weights = balancer.weights(step.number, step.tasks)
    numbers = {name: float(weight) for name, weight in weights.items()}
    observed = Observed()
    with head_norms(passes.model.heads) as squares:
        if active.shared and balancer.wants_norms(step.number, step.tasks):
            norms = _summed_task_by_task(passes, step, active, weights)
            observed = Observed(norms=unweighted(norms, numbers), pulls=pulls(norms), shared_summed=True)
        else:
            for batch in step.packs:
                passes.backward(batch, step, weights)
    if step.losses and active.shared:
        found = torch.stack([squares.get(name, torch.zeros_like(loss)) for name, loss in step.losses.items()])
        read = (passes.team.sum(found).sqrt() / passes.scaler.get_scale()).tolist()
        observed = replace(observed, head_norms=unweighted(dict(zip(step.tasks, read, strict=True)), numbers))
    for name, weight in numbers.items():
        scale_gradients(active.own[name], balancer.static[name] / weight if weight else 1.0)
    return observed


def _summed_task_by_task(
    passes: Passes, step: Step, active: ActiveParameters, weights: Mapping[str, torch.Tensor]
) -> dict[str, float]:
    """Leave the sum of all tasks' gradients of the shared parameters; returns the norm of each task's weighted gradient."""
    norms: dict[str, torch.Tensor] = {}
    total: list[torch.Tensor | None] = [None] * len(active.shared)
    for name, gradient in passes.task_by_task(step, weights, active.shared):
        norms[name] = torch.nn.utils.get_total_norm([g for g in gradient if g is not None]).to(passes.device)
        total = [new if old is None else old if new is None else old.add_(new)
                 for old, new in zip(total, gradient, strict=True)]  # fmt: skip
    for parameter, summed in zip(active.shared, total, strict=True):
        parameter.grad = summed
    read = (torch.stack(list(norms.values())) / passes.scaler.get_scale()).tolist() if norms else []
    return dict(zip(norms, read, strict=True))
