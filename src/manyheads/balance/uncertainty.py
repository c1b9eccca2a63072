"""Weights learned with the model, from the noise of each task. Kendall, Gal & Cipolla 2018 (arXiv:1705.07115).

The form is the paper's for classification, `L / s² + log s`, with the log variance `v = log s²` learned for stability:
`exp(-v) L + v / 2`. It starts at weight 1 and has its minimum at `exp(-v) = 1 / (2 L)`; for half a squared error, that is
the variance of the noise. A static weight multiplies both terms; on `L` alone, learning would undo it.

Decided here: the log variances start at 0 and have their own learning rate, 0.01, without decay. At the 2e-5 of
fine-tuning, Adam would move them by 0.02 in a thousand steps, and weights would stay static.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from manyheads.balance.base import Balancer, checked


class UncertaintyBalancer(Balancer):
    """One log variance per task, trained by the run's optimizer."""

    def __init__(self, weights: Mapping[str, float], *, rate: float = 0.01) -> None:
        """`rate`: learning rate of the log variances. Raises UsageError."""
        super().__init__(weights)
        self.parameters_rate = checked("uncertainty", "rate", rate, 0, 1)
        self.log_variance = {task: nn.Parameter(torch.zeros(())) for task in self.tasks}
        self._last: dict[str, Tensor] = {}

    def parameters(self) -> list[nn.Parameter]:
        """The log variances, in the order of the tasks; move their `data` to the device of the losses to avoid copies."""
        return list(self.log_variance.values())

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """`static * exp(-v)`, differentiable in v."""
        weights = {task: self.static[task] * torch.exp(-self.log_variance[task]) for task in present}
        self._last = {task: weight.detach() for task, weight in weights.items()}
        return weights

    def penalty(self, present: Sequence[str]) -> Tensor | None:
        """Sum of `static * v / 2` over the tasks present, which keeps variances from growing without bound."""
        if not present:
            return None
        return torch.stack([self.static[task] * self.log_variance[task] / 2 for task in present]).sum()

    def shown(self) -> dict[str, float]:
        """The last weights. Waits for the device here, so that steps need not."""
        return {task: float(weight) for task, weight in self._last.items()}
