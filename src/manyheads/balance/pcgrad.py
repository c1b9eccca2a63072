"""PCGrad: a gradient that conflicts with another is projected onto its normal plane. Yu 2020 (arXiv:2001.06782).

Decided here: the projections run in the space of coefficients. Every projected gradient is a combination of the K
gradients, and its dot products with them follow from the Gramian, so no gradient is copied. The results are added up, as in
the paper: without conflicts the step is the static one. The order is a function of (seed, step).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from manyheads.balance.base import GramianBalancer
from manyheads.balance.draw import generator


class PCGradBalancer(GramianBalancer):
    """The only setting is a seed."""

    def __init__(self, weights: Mapping[str, float], *, seed: int) -> None:
        super().__init__(weights)
        self.seed = seed

    def order(self, step: int, tasks: Sequence[str]) -> list[list[int]]:
        """For each task, the order of the others to project on, as indices in `tasks`.

        Drawn for all tasks of the run, so the order of two tasks does not depend on a third.
        """
        lots = generator(self.seed, step).random((len(self.tasks), len(self.tasks)))
        rank = {task: i for i, task in enumerate(self.tasks)}
        return [
            sorted((j for j in range(len(tasks)) if j != i), key=lambda j: lots[rank[task], rank[tasks[j]]])
            for i, task in enumerate(tasks)
        ]

    def _solve(self, step: int, gramian_KK: Tensor, tasks: Sequence[str]) -> Tensor:
        total_K = torch.zeros(len(tasks), dtype=torch.float64)
        for i, others in enumerate(self.order(step, tasks)):
            own_K = torch.zeros_like(total_K)
            own_K[i] = 1.0
            for j in others:
                dot = float(gramian_KK[j] @ own_K)
                if dot < 0:
                    own_K[j] -= dot / float(gramian_KK[j, j])
            total_K += own_K
        return total_K
