"""Nash-MTL: the step that is the bargaining solution of the tasks. Navon 2022 (arXiv:2202.01017).

The weights `a` solve `G a = 1 / a`, the minimum of `a.G.a / 2 - sum log a`, a convex and self-concordant function of K
numbers. Damped Newton finds it in at most a few dozen steps, 0.3 ms. Decided here:
- Our own solver. The paper's sequence of convex programs, as in TorchJD, takes 20 to 50 ms, stopped short of the solution
  in 4 of 100 cases (cosine of the steps down to 0.65) and in 2 of 40 with unit gradients, and needs a GPL solver.
- It solves for the cosines of the gradients and divides by their norms at the end: the same solution at any scale.
- Weights are scaled to add up to K, so that equal gradients give the static step; the paper's length limit is left to the
  trainer's clipping. The solution's own length follows the largest gradient, and is unbounded for opposite gradients.
- The solution does not depend on the scale of gradients, so a static weight has an effect only if it is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from manyheads.balance.base import GramianBalancer

RIDGE = 1e-8  # added to each cosine with itself: bounds the weights of opposite gradients
MOST_STEPS = 200


class NashMTLBalancer(GramianBalancer):
    """No settings."""

    def _solve(self, step: int, gramian_KK: Tensor, tasks: Sequence[str]) -> Tensor:
        norm_K = gramian_KK.diagonal().sqrt()
        weights_K = bargained(gramian_KK / torch.outer(norm_K, norm_K)) / norm_K
        return len(tasks) * weights_K / weights_K.sum()


def bargained(matrix_KK: Tensor) -> Tensor:
    """The positive `a` with `M a = 1 / a`, of a positive semidefinite `M` with ones on its diagonal (float64)."""
    ridged_KK = matrix_KK + RIDGE * torch.eye(len(matrix_KK), dtype=matrix_KK.dtype)
    a_K = torch.full_like(matrix_KK[0], len(matrix_KK) ** -0.5)
    for _ in range(MOST_STEPS):
        slope_K = ridged_KK @ a_K - 1 / a_K
        move_K = torch.linalg.solve(ridged_KK + torch.diag(a_K**-2), -slope_K)
        decrement = max(float(-slope_K @ move_K), 0.0) ** 0.5
        # Damped until close, which keeps every weight positive (Nesterov & Nemirovskii 1994).
        a_K = a_K + move_K * (1.0 if decrement < 0.25 else 1 / (1 + decrement))
        if decrement < 1e-10:
            break
    return a_K
