"""The mean of the weights over the end of a run: one more candidate for the final model.

Averages of the last weights of a run lie in flatter optima and are often better than any of them (Izmailov et al. 2018,
Averaging Weights Leads to Wider Optima; Kaddour 2022, Stop Wasting My Time).

Decided here:
- One running mean of about `SAMPLES` evenly spaced steps: more of them are too similar to add anything.
- It is evaluated on validation data like any later weights. Without validation data it is the final model.
- Which steps are sampled depends on the step alone, so a resumed run takes the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from manyheads.training.distributed.sharded import local

SAMPLES = 64


class Average:
    """A running mean of parameters over the end of a run."""

    def __init__(self, parameters: Sequence[nn.Parameter], share: float, steps: int) -> None:
        """`share`: of all `steps`, from 0 (never) to 1."""
        self.parameters = parameters
        self.steps = steps
        self.first = steps - math.ceil(share * steps)
        """Only later steps are sampled."""
        self.every = max(1, (steps - self.first) // SAMPLES)
        self.count = 0
        """Samples in the mean."""
        self.mean: list[torch.Tensor] = []
        """This process's part, where parameters are divided."""

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Sample the weights after `step` steps, if it is one of the sampled steps."""
        if step <= self.first or (self.steps - step) % self.every:
            return
        self.count += 1
        if self.count == 1:
            self.mean = [local(parameter).detach().clone() for parameter in self.parameters]
            return
        for mean, parameter in zip(self.mean, self.parameters, strict=True):
            mean.lerp_(local(parameter).detach(), 1 / self.count)

    def clear(self) -> None:
        """Drop the mean."""
        self.count, self.mean = 0, []
