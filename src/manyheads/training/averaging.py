"""The mean of the weights over the end of a run: one more candidate for the model that the run ends with.

Averages of weights along a training's last stretch are flatter and often better than any of them (Izmailov et al. 2018,
Averaging Weights Leads to Wider Optima; Kaddour 2022, Stop Wasting My Time).

Decided here:
- One running mean beside the weights, of some `SAMPLES` evenly spaced steps: more of them are too alike to add anything.
- It is held against the best evaluation on validation data like any later one. Without validation data it is taken.
- What is sampled depends on the step alone, so a run that goes on takes the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from manyheads.training.sharded import local

if TYPE_CHECKING:
    from torch import nn

SAMPLES = 64


class Average:
    """A running mean of parameters over the end of a run."""

    def __init__(self, parameters: Sequence[nn.Parameter], share: float, steps: int) -> None:
        """`share` of all `steps`, from 0 (never) to 1."""
        self.parameters = parameters
        self.steps = steps
        self.first = steps - math.ceil(share * steps)
        """Steps before it are left out."""
        self.every = max(1, (steps - self.first) // SAMPLES)
        self.count = 0
        """Samples in the mean."""
        self.mean: list[torch.Tensor] = []
        """This process's part of it, where parameters are divided."""

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Note the weights after so many steps, if they are to be in the mean."""
        if step <= self.first or (self.steps - step) % self.every:
            return
        self.count += 1
        if self.count == 1:
            self.mean = [local(parameter).detach().clone() for parameter in self.parameters]
            return
        for mean, parameter in zip(self.mean, self.parameters, strict=True):
            mean.lerp_(local(parameter).detach(), 1 / self.count)

    def clear(self) -> None:
        """Let the mean go."""
        self.count, self.mean = 0, []
