"""The loop: training is an iterator over steps. Logging, evaluation and saving are plain `if`s of whoever iterates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from manyheads.errors import DivergedError
from manyheads.training.batches import Batch, Batcher, prefetched

if TYPE_CHECKING:
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step did. Losses are the tasks' normalised means before their weights."""

    step: int
    losses: Mapping[str, float]
    units: Mapping[str, int]
    tokens: Mapping[str, int]
    rate: float
    gradient_norm: float


class Trainer:
    """Trains a model step by step."""

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task[Any]],
        batcher: Batcher,
        optimizer: torch.optim.Optimizer,
        rate_at: Callable[[int], float],
        *,
        clip: float,
        seed: int,
    ) -> None:
        """`rate_at(step)` sets the learning rate; gradients are clipped to a global norm of `clip`."""
        self.model = model
        self.tasks = tasks
        self.batcher = batcher
        self.optimizer = optimizer
        self.rate_at = rate_at
        self.clip = clip
        self.seed = seed
        self.device = next(model.parameters()).device

    def run(self, steps: int) -> Iterator[StepRecord]:
        """Records of steps 0 to `steps - 1`. Raises DivergedError when a loss or gradient is not finite."""
        batches = prefetched(self.batcher, 0, steps)
        try:
            for step, batch in enumerate(batches):
                yield self._step(step, batch)
        finally:
            batches.close()  # type: ignore[attr-defined]

    def _step(self, step: int, batch: Batch | None) -> StepRecord:
        rate = self.rate_at(step)
        if batch is None:
            return StepRecord(step, {}, {}, {}, rate, 0.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(step_seed(self.seed, step))
        self.model.train()
        outputs = self.model(batch.pack.to(self.device), batch.reads)
        losses, units = {}, {}
        for name, targets in batch.targets.items():
            loss = self.tasks[name].loss(outputs[name], {key: value.to(self.device) for key, value in targets.items()})
            losses[name], units[name] = loss.mean, loss.units
        total = sum(
            (self.tasks[name].weight * loss for name, loss in losses.items()), start=torch.zeros((), device=self.device)
        )
        total.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip))
        figures = {name: float(loss.detach()) for name, loss in losses.items()}
        if not all(map(_finite, [norm, *figures.values()])):
            bad = next((name for name, value in figures.items() if not _finite(value)), "the gradient")
            raise DivergedError(
                f"step {step}: the loss of {bad} is not finite; lower `training.learning_rate` (now {rate:.2g})"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepRecord(step, figures, units, dict(batch.tokens), rate, norm)


def step_seed(seed: int, step: int) -> int:
    """The seed of a step's dropout: depends on nothing else, so any step can be repeated."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=8).digest(), "big") >> 1


def _finite(value: float) -> bool:
    return value - value == 0.0
