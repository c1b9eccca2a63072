"""CAGrad: the step near the mean gradient that is best for the worst-off task. Liu 2021 (arXiv:2110.14048).

With `g0` the mean gradient and `gw` a convex combination, `w` minimises `gw.g0 + c |g0| |gw|` and the step is
`g0 + c |g0| gw / |gw|`. Decided here: it is divided by `1 + c` (as one of the scalings of the paper's code) and
multiplied by K, so that equal gradients give the static step. If `gw` is 0, there is no direction to add: `g0` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from manyheads.balance.base import GramianBalancer, checked

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

TINY = 1e-12  # of squared norms, the largest gradient being 1


class CAGradBalancer(GramianBalancer):
    """`c` bounds the distance of the step from the mean gradient, relative to its norm."""

    def __init__(self, weights: Mapping[str, float], *, c: float = 0.5) -> None:
        """`c` from 0 (the mean gradient) to below 1, where the paper's convergence proof ends. Raises UsageError."""
        super().__init__(weights)
        self.c = checked("cagrad", "c", c, 0, 0.999)

    def _solve(self, step: int, gramian_KK: Tensor, tasks: Sequence[str]) -> Tensor:
        matrix_KK = gramian_KK.numpy()
        count = len(matrix_KK)
        mean_K = matrix_KK.mean(1)  # g_i . g0
        radius = self.c * float(np.sqrt(max(mean_K.mean(), 0.0)))
        share_K = worst_combination(matrix_KK, mean_K, radius)
        norm = float(np.sqrt(max(share_K @ matrix_KK @ share_K, 0.0)))
        added_K = radius * share_K / norm if norm * norm > TINY else np.zeros(count)
        return torch.from_numpy((1 / count + added_K) * count / (1 + self.c))


def worst_combination(matrix_KK: np.ndarray, mean_K: np.ndarray, radius: float) -> np.ndarray:
    """Minimise `w.mean + radius sqrt(w.G.w)` over the simplex: convex, K numbers, by SLSQP from its centre."""
    from scipy.optimize import LinearConstraint, minimize

    count = len(matrix_KK)

    def norm(w_K: Vector) -> float:
        return float(np.sqrt(max(float(w_K @ matrix_KK @ w_K), 0.0) + TINY * TINY))  # never 0: the slope divides by it

    def value(w_K: Vector) -> float:
        return float(w_K @ mean_K) + radius * norm(w_K)

    def slope(w_K: Vector) -> np.ndarray:
        return mean_K + radius * (matrix_KK @ w_K) / norm(w_K)

    found = minimize(
        value,
        np.full(count, 1 / count),
        jac=slope,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints=LinearConstraint(np.ones((1, count)), 1, 1),
        options={"ftol": 1e-14, "maxiter": 200},
    )
    share_K = np.clip(np.asarray(found.x, dtype=np.float64), 0.0, None)
    return share_K / share_K.sum()
