"""Gramian mode: the tasks run one after the other, and the balancer weighs their gradients by their inner products."""

from __future__ import annotations

from typing import cast

import torch

from manyheads.balance.base import Balancer, combined, gramian
from manyheads.training.gradients.norms import pulls
from manyheads.training.gradients.passes import Passes, scale_gradients
from manyheads.training.gradients.step import ActiveParameters, Observed, Step


def combined_gradients(passes: Passes, step: Step, active: ActiveParameters, balancer: Balancer) -> Observed:
    """Leave the weighted sum of the tasks' gradients; a task's own parameters have its static weight."""
    gradients: list[list[torch.Tensor | None]] = []
    static = balancer.weights(step.number, step.tasks)
    for name, found in passes.task_by_task(step, dict.fromkeys(step.tasks, torch.ones(())), active.shared):
        gradients.append(found)
        scale_gradients(active.own[name], float(static[name]))
    table = active.word_table
    tables = [gradient[table] for gradient in gradients] if table is not None else []
    dense = next((found for found in tables if found is not None), None)
    if table is not None and dense is not None:
        rows = torch.unique(torch.cat([batch.pack.ids_T for batch in step.packs])).to(passes.device)
        for gradient, whole in zip(gradients, tables, strict=True):
            gradient[table] = None if whole is None else whole.index_select(0, rows)
    gram_KK = gramian(gradients)
    weights_K = balancer.combine(step.number, gram_KK, step.tasks)
    norms = (weights_K.abs() * gram_KK.diagonal().sqrt()).tolist()
    sums_P = combined(gradients, weights_K)
    if table is not None and dense is not None:
        sums_P[table] = dense.index_copy_(0, rows, cast("torch.Tensor", sums_P[table]))
    for parameter, summed in zip(active.shared, sums_P, strict=True):
        parameter.grad = summed
    return Observed(pulls=pulls(dict(zip(step.tasks, norms, strict=True))), shared_summed=True)
