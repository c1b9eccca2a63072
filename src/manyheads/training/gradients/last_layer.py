"""Last-layer mode: one weighted backward pass, with the norm of each task's gradient at the last shared layer.

Up to that layer all tasks run together, forward and backward; that layer and everything above it runs task by task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from manyheads.balance.base import Balancer
from manyheads.training.gradients.norms import pulls, unweighted
from manyheads.training.gradients.passes import Passes
from manyheads.training.gradients.step import ActiveParameters, Observed, Step


def last_layer_norms(passes: Passes, step: Step, active: ActiveParameters, balancer: Balancer) -> Observed:
    """Leave the weighted sum of gradients; observe their norms at the last shared layer."""
    model, layer, region = passes.model, active.last_layer, passes.objective.precision.region
    weights = balancer.weights(step.number, step.tasks)
    grown: dict[str, list[torch.Tensor]] = {}
    for batch in step.packs:
        whole, stand_in = batch.pack.to(passes.device), passes.stand_in(batch)
        with region():
            states = model.below(whole, active.last_shared)
        cut: list[list[torch.Tensor]] = []
        for name, (first, stop) in batch.reads.items():
            before = [None if p.grad is None else p.grad.clone() for p in layer]
            leaves = [
                whole.segments.cut(state, first, stop).detach().requires_grad_(state.requires_grad) for state in states
            ]
            cut.append(leaves)
            part = replace(batch, pack=whole.part(first, stop), reads={name: (0, stop - first)})
            with region():
                outputs = model.above(leaves, part.pack, part.reads, active.last_shared)
            losses = passes.objective.losses(outputs, part, step.totals, step.number, stand_in)
            passes.backward_from(losses, step, weights)
            _add_growth(grown.setdefault(name, []), layer, before)
        _backward_below(states, cut)
    zeros, scale = [torch.zeros_like(p) for p in layer], passes.scaler.get_scale()
    summed = {name: passes.team.sum_all(grown.get(name) or zeros, layer) for name in step.tasks}
    norms = {name: float(torch.stack([g.norm() for g in found if g is not None]).norm()) / scale if found else 0.0
             for name, found in summed.items()}  # fmt: skip
    return Observed(
        norms=unweighted(norms, {name: float(weight) for name, weight in weights.items()}), pulls=pulls(norms)
    )


def _add_growth(
    grown: list[torch.Tensor], parameters: Sequence[nn.Parameter], before: Sequence[torch.Tensor | None]
) -> None:
    """Add to `grown` how much gradients have grown since `before`."""
    pairs = [(p.grad, old) for p, old in zip(parameters, before, strict=True) if p.grad is not None]
    diffs = [new.clone() if old is None else new - old for new, old in pairs]
    if not grown:
        grown.extend(diffs)
        return
    for total, diff in zip(grown, diffs, strict=True):
        total.add_(diff)


def _backward_below(states: Sequence[torch.Tensor], cut: Sequence[Sequence[torch.Tensor]]) -> None:
    """Carry the gradients of the tasks' parts, which lie in the order of the pack, to the states they were cut from.

    No task reads what follows the last part, the tail of a pack: its gradient is 0.
    """
    reached = [i for i, state in enumerate(states) if state.requires_grad]
    gradients = []
    for i in reached:
        parts = [torch.zeros_like(leaves[i]) if (grad := leaves[i].grad) is None else grad for leaves in cut]
        tail = states[i].new_zeros(len(states[i]) - sum(map(len, parts)), *states[i].shape[1:])
        gradients.append(torch.cat([*parts, tail]))
    if reached:
        torch.autograd.backward([states[i] for i in reached], gradients)
