"""Equal norms: each task's shared gradient is divided by its running norm, so that all tasks pull equally.

Gradient-norm scaling: Revisit the Imbalance Optimization in Multi-task Learning (arXiv:2509.23915); AutoScale
(arXiv:2508.13979); and the gradient half of DB-MTL, dual balancing (Lin et al. 2023, arXiv:2308.12029). Where gradients are
uncorrelated, a shared AdamW moves task k at r_k = w_k s_k / sqrt(sum_j (w_j s_j)^2) of its speed alone, with s_k the root
mean square of its gradient's norm: a task with small gradients hardly moves. Here w_k s_k is the same for all. The squares
of all r_k still add up to 1; `shared_rate_factor` (training/optim.py) compensates for that.

Decided here:
- Norms are those of the tasks' gradients at shared parameters. Observing them requires tasks to run one after the other,
  which is done in the `first` steps of a task, then at every `every`-th. In between, the norm at the hidden states that its
  head reads, which is almost free, is used, times the ratio of the two norms when both were observed.
  On the general mix that is within 11 % of a mean of all norms; without it, 17 to 27 % (docs/decisions.md).
- The mean is of squares, as in AdamW's second moment; `smoothing` is the weight of the past.
- The common factor keeps the expected length of the static step: sum (w_k s_k)^2 is unchanged. So rates and clipping carry
  over, and with equal norms the step is the static one. Factors with a mean of 1, as in other methods, would not do that.
- Parameters of a single task, its head or private layers, have its static weight: their gradients are not scaled.
- A static weight is a relative pull: w = 2 pulls twice as much as w = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from manyheads.balance.base import Balancer, Mode, all_finite, checked
from manyheads.errors import UsageError

Means = dict[str, list[float]]
"""By task: weighted sum, and sum of the weights."""
PAST_OF_RATIO = 0.5
"""Weight of the past in the mean ratio, which can drift by half in 60 steps."""


class EqualNormBalancer(Balancer):
    """A running mean square of each task's norm, and the step of its last observation."""

    mode: ClassVar[Mode] = "norms"
    saved: ClassVar[tuple[str, ...]] = ("squares", "ratios", "seen")

    def __init__(
        self, weights: Mapping[str, float], *, smoothing: float = 0.9, first: float = 10, every: float = 10
    ) -> None:
        """`first`, `every`: whole steps, see above; `smoothing`: below 1. Raises UsageError."""
        super().__init__(weights)
        self.smoothing = checked("equal-norm", "smoothing", smoothing, 0, 0.999)
        self.first = _whole("first", first)
        self.every = _whole("every", every)
        self._squares: Means = {}  # of norms
        self._ratios: Means = {}  # log of norm over norm at the head
        self._seen: dict[str, list[int]] = {}  # task: [how often, last step]

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """Static weight over running norm, times the factor that keeps the step's length; static until a norm is known."""
        norms = {task: math.sqrt(_mean(square)) for task, square in self._squares.items() if self.static[task]}
        largest = max(norms.values(), default=1.0)  # squares of tiny norms would underflow
        squares = [(self.static[task] ** 2, (norm / largest) ** 2) for task, norm in norms.items()]
        target = largest * math.sqrt(sum(w * s for w, s in squares) / sum(w for w, _ in squares)) if norms else 1.0
        return self._given({t: self.static[t] * (target / norms[t] if t in norms else 1.0) for t in present}, present)

    def wants_norms(self, step: int, present: Sequence[str]) -> bool:
        """Whether a task is new, or its last observation is `every` steps ago."""
        seen = [self._seen.get(task, [0, 0]) for task in present if self.static[task]]
        return any(often < self.first or step - last >= self.every for often, last in seen)

    def observe_pull(self, step: int, at_heads: Mapping[str, float], norms: Mapping[str, float]) -> None:
        """Add observed or estimated norms to the running means. A task without a gradient counts as observed."""
        if not all_finite(at_heads, norms):
            return
        for task, at_head in at_heads.items():
            norm = norms.get(task)
            if norm is None:
                norm = at_head * math.exp(_mean(self._ratios[task])) if task in self._ratios else 0.0
            else:
                self._seen[task] = [self._seen.get(task, [0, 0])[0] + 1, step]
                if norm > 0 and at_head > 0:
                    _add(self._ratios, task, math.log(norm / at_head), PAST_OF_RATIO)
            if norm > 0:
                _add(self._squares, task, norm**2, self.smoothing)


def _add(means: Means, task: str, value: float, past: float) -> None:
    total, weight = means.get(task, [0.0, 0.0])
    means[task] = [past * total + (1 - past) * value, past * weight + 1 - past]


def _mean(sums: Sequence[float]) -> float:
    total, weight = sums
    return total / weight


def _whole(option: str, value: float) -> int:
    if checked("equal-norm", option, value, 1) != int(value):
        raise UsageError(f"balancing by equal-norm: {option} is {value}; give a whole number of steps")
    return int(value)
