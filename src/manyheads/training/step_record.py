"""The record of one step: what the log, the progress bar and the guard read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyheads.training.guard import Skip


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step. Losses are the tasks' normalised means before weighting; a bad step has none."""

    step: int
    phase: str
    losses: Mapping[str, float]
    weights: Mapping[str, float]
    """Factors on the losses or gradients of the tasks."""
    tokens: Mapping[str, int]
    rate: float
    """Learning rate of the encoder's top layer."""
    gradient_norm: float
    packs: int
    skip: Skip | None = None
    """Set for a bad step, which changes nothing."""
    pulls: Mapping[str, float] = field(default_factory=dict)
    """How fast each task moves the shared parameters, 1 as if it trained alone; empty where norms are unknown."""
