"""What a loss is divided by before it is weighted, so that equal weights mean something.

Tasks give losses as they are, with the figure to divide by; dividing happens here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.base import Loss

Normalisation = Literal["none", "log-classes", "initial-loss"]


class Normaliser:
    """`log-classes`: by the loss of an uninformed head. `initial-loss`: by the task's first loss. `none`: by nothing."""

    def __init__(self, method: Normalisation) -> None:
        """The first losses are not known yet."""
        self.method = method
        self.first: dict[str, float] = {}
        """Mean loss of the first step of each task, under `initial-loss`; a part of a run's state."""

    def scaled(self, name: str, loss: Loss) -> torch.Tensor:
        """The mean loss, 0-dim. Under `initial-loss` the first step of a task is taken as `log-classes` has it.

        Values are divided one by one where each has its own: the mean of a batch is then the mean of its
        parts by their denominators, however a step is cut into packs.
        """
        if self.method == "none":
            return loss.mean
        values = loss.values / loss.chance_loss
        mean = values.mean() if values.ndim else values
        return mean / self.first[name] if name in self.first else mean

    def observe(self, losses: Mapping[str, float]) -> dict[str, float]:
        """The scaled losses of a step; the first finite one above 0 of each task is kept.

        Answers the factors that bring them into the units of the steps to come: 1, or the first loss over itself.
        """
        factors = dict.fromkeys(losses, 1.0)
        if self.method == "initial-loss":
            for name, value in losses.items():
                if name not in self.first and 0.0 < value < float("inf"):
                    self.first[name] = value
                    factors[name] = 1.0 / value
        return factors
