"""Weights learned with the model as the noise of each task. Kendall, Gal & Cipolla 2018 (arXiv:1705.07115).

The form is the paper's for classification, `L / s² + log s`, with the log variance `v = log s²` learned for stability:
`exp(-v) L + v / 2`. It starts at weight 1 and is least at `exp(-v) = 1 / (2 L)`; for a loss of half a squared error that
variance is the noise's. A static weight multiplies both terms: on `L` alone it would be learned away.

Decided here: the log variances start at 0 and learn at a rate of their own, 0.01, without decay. At the 2e-5 of
fine-tuning, Adam would move them by 0.02 in a thousand steps, and the method would be static weights under another name.
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
        """The log variances, in the order of the tasks; move their `data` to the losses' device to avoid a copy a step."""
        return list(self.log_variance.values())

    def weights(self, step: int, present: Sequence[str]) -> dict[str, Tensor]:
        """`static * exp(-v)`, with a gradient to v."""
        weights = {task: self.static[task] * torch.exp(-self.log_variance[task]) for task in present}
        self._last = {task: weight.detach() for task, weight in weights.items()}
        return weights

    def penalty(self, present: Sequence[str]) -> Tensor | None:
        """`static * v / 2` of the tasks present, added up: what keeps variances from growing for ever."""
        if not present:
            return None
        return torch.stack([self.static[task] * self.log_variance[task] / 2 for task in present]).sum()

    def shown(self) -> dict[str, float]:
        """The weights last used. Waits for the device, so that no step has to."""
        return {task: float(weight) for task, weight in self._last.items()}
