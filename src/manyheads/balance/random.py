"""Random loss weighting, the baseline for other methods. Lin 2022 (arXiv:2111.10603).

`factor_t = K softmax_t(n)` with `n` standard normal, drawn at every step; its mean over steps is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from manyheads.balance.base import Balancer
from manyheads.balance.draw import generator


class RandomBalancer(Balancer):
    """The only setting is a seed."""

    def __init__(self, weights: Mapping[str, float], *, seed: int) -> None:
        super().__init__(weights)
        self.seed = seed

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """Static weight times factor, drawn for all tasks of the run, so it does not depend on the tasks present."""
        exponential_K = np.exp(generator(self.seed, step).standard_normal(len(self.tasks)))
        factors = dict(zip(self.tasks, (exponential_K / exponential_K.mean()).tolist(), strict=True))
        return self._given({task: self.static[task] * factors[task] for task in present}, present)
