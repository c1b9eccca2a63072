"""MGDA: the shortest convex combination of the gradients, which no task objects to. Désidéri 2012; Sener & Koltun 2018.

Through TorchJD's Frank-Wolfe. Weights add up to 1 there and to K here, so that equal gradients give the static step.
The shortest combination leans to the smallest gradient, and a static weight makes a gradient larger or smaller: with MGDA
a task given a *lower* weight gets *more* of the combination.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from manyheads.balance.base import GramianBalancer, checked
from manyheads.balance.extra import from_torchjd


class MGDABalancer(GramianBalancer):
    """Needs the extra `balance`."""

    def __init__(self, weights: Mapping[str, float], *, epsilon: float = 0.001, iterations: float = 100) -> None:
        """The solver stops at a step below `epsilon` or after `iterations`. Raises UsageError."""
        super().__init__(weights)
        checked("mgda", "epsilon", epsilon, 1e-12, 1)
        checked("mgda", "iterations", iterations, 1)
        self._weighting = from_torchjd(
            "mgda", lambda torchjd: torchjd.MGDAWeighting(epsilon=float(epsilon), max_iters=int(iterations))
        )

    def _solve(self, step: int, gramian_KK: Tensor, tasks: Sequence[str]) -> Tensor:
        return len(tasks) * self._weighting(gramian_KK)
