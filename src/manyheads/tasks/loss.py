"""The loss of a task, and the chance loss that brings tasks to one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss over a task's own units (words, texts, pairs, windows of questions) as its paper defines it.

    Nothing is divided out. Only the normaliser of a run divides by `chance_loss`, each value by its own and before the
    mean is taken, so that a window with few tokens to choose from counts as much as one with many.
    """

    values: torch.Tensor
    """One value per unit, (U,), or the mean over all units, ()."""
    chance_loss: float | torch.Tensor = 1.0
    """Scale of the loss, one figure or one per value: the loss of an uninformed head (`log K` for K classes); the inverse
    temperature of ranking losses; 1 where there is no such figure."""

    @property
    def mean(self) -> torch.Tensor:
        """The mean over units, not normalised."""
        return self.values.mean() if self.values.ndim else self.values
