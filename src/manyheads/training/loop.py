"""The loop: training is an iterator over steps. Logging, evaluation and saving are plain `if`s of whoever iterates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from manyheads.errors import DivergedError, TrainingError
from manyheads.training.batches import Batch, Batcher, prefetched
from manyheads.training.frozen import Frozen, frozen_layers
from manyheads.training.gradients import Gradients
from manyheads.training.optim import set_rates
from manyheads.training.phases import Phase, enter

if TYPE_CHECKING:
    from manyheads.balance.base import Balancer
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.training.losses import Normaliser
    from manyheads.training.parts import Part
    from manyheads.training.precision import Precision

BALANCING = "balancing"
"""The optimizer's group of learned loss weights."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step did. Losses are the tasks' normalised means before their weights."""

    step: int
    phase: str
    losses: Mapping[str, float]
    weights: Mapping[str, float]
    """What the losses or gradients of the tasks were multiplied by."""
    tokens: Mapping[str, int]
    rate: float
    """Of the encoder's top."""
    gradient_norm: float
    packs: int


@dataclass(frozen=True, slots=True)
class Making:
    """The parts of a trainer that settings decide."""

    optimizer: torch.optim.Optimizer
    balancer: Balancer
    normaliser: Normaliser
    precision: Precision
    clip: float
    seed: int
    steps_an_epoch: float
    frozen: Callable[[MultiTaskModel, int], Frozen | None] | None
    """Makes what keeps the output of a model's bottom layers; None: it is computed every time."""


class Trainer:
    """Trains a model step by step."""

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task[Any]],
        batcher: Batcher,
        parts: Sequence[Part],
        making: Making,
    ) -> None:
        """`parts`: what may be trained at all. Gradients are clipped to a global norm of `making.clip`."""
        self.model = model
        self.tasks = tasks
        self.batcher = batcher
        self.parts = parts
        self.making = making
        self.device = next(model.parameters()).device
        self.max_tokens: int | None = None
        """Lowered when memory runs out."""
        self.notes: list[str] = []
        """What the user should be told; whoever iterates takes them."""
        self._frozen: Frozen | None = None
        self._told_full = False
        self.gradients = Gradients(
            model, tasks, making.balancer, making.normaliser, precision=making.precision, seed=making.seed
        )

    def run(self, phase: Phase, first: int, stop: int, start: int = 0) -> Iterator[StepRecord]:
        """Records of steps `first` to `stop - 1` of a phase that began at step `start`.

        Raises DivergedError when a loss or gradient is not finite.
        """
        self.prepare(phase)
        batches = prefetched(self.batcher, first, stop)
        try:
            for step, packs in enumerate(batches, start=first):
                yield self.step(phase, step, packs, start)
        finally:
            batches.close()  # type: ignore[attr-defined]

    def prepare(self, phase: Phase) -> None:
        """Freeze and thaw as the phase says; must come before its steps, and again after an evaluation."""
        enter(phase, self.model, self.parts)
        self.gradients.survey(self.parts)
        layer = frozen_layers(self.model) if self.making.frozen else 0
        if layer != (self._frozen.layer if self._frozen else 0):
            self.close()
            self._frozen = self.making.frozen(self.model, layer) if self.making.frozen and layer else None
        # A phase that sees each example once would write what nobody reads.
        again = phase.steps > self.making.steps_an_epoch or (self._frozen is not None and len(self._frozen.store) > 0)
        self.gradients.frozen = self._frozen if again else None

    def close(self) -> None:
        """Let the store of frozen layers' outputs go, if there is one; the next run reads what it holds."""
        if self._frozen is not None:
            self._frozen.store.close()
            self._frozen = self.gradients.frozen = None

    def step(self, phase: Phase, step: int, packs: list[Batch], start: int = 0) -> StepRecord:
        """One step of a phase that began at step `start`, on the packs of the batcher."""
        factor = phase.factor(step - start)
        rates = {part.name: phase.rates.of(part, self.model.encoder.depth) * factor for part in self.parts}
        set_rates(self.making.optimizer, {**rates, BALANCING: self.making.balancer.parameters_rate})
        return self._step(step, packs, phase.name, phase.rates.base * factor)

    def _step(self, step: int, packs: list[Batch], phase: str, rate: float) -> StepRecord:
        if self.max_tokens is not None and any(pack.pack.tokens > self.max_tokens for pack in packs):
            packs = self.batcher.batch(step, self.max_tokens)
        if not packs:
            return StepRecord(step, phase, {}, {}, {}, rate, 0.0, 0)
        sums = self._tried(step, packs)
        if sums is None:
            packs = self._smaller(step, packs)
            sums = self._tried(step, packs)
        if sums is None:
            raise TrainingError(f"step {step}: packs of {self.max_tokens:,} tokens do not fit into memory either; "
                                "lower training.max_tokens_per_pack further")  # fmt: skip
        balancer, optimizer = self.making.balancer, self.making.optimizer
        self.gradients.scaler.unscale_(optimizer)
        own = {id(parameter) for parameter in balancer.parameters()}
        trained = [
            p for group in optimizer.param_groups for p in group["params"] if p.grad is not None and id(p) not in own
        ]
        norm = (
            torch.nn.utils.clip_grad_norm_(trained, self.making.clip)
            if trained
            else torch.zeros((), device=self.device)
        )
        *values, norm_value = torch.stack([*(sums[name] for name in sums), norm.float()]).tolist()
        figures = dict(zip(sums, values, strict=True))
        self._check(step, figures, norm_value, rate)
        self.gradients.scaler.step(optimizer)
        self.gradients.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        figures = self._told(step, packs, figures)
        if self._frozen is not None and self._frozen.store.full and not self._told_full:
            self._told_full = True
            self.notes.append(f"step {step}: the store of frozen layers' outputs in {self._frozen.store.folder} has reached "
                              "training.frozen_store_gb; what is not in it is computed every time")  # fmt: skip
        tokens = {name: sum(pack.tokens.get(name, 0) for pack in packs) for name in figures}
        return StepRecord(step, phase, figures, balancer.shown(), tokens, rate, norm_value, len(packs))

    def _told(self, step: int, packs: Sequence[Batch], figures: Mapping[str, float]) -> dict[str, float]:
        """Tell the balancer of a step that is done. The losses, in the units of the steps to come."""
        balancer = self.making.balancer
        after = self.gradients.losses_again(step, packs) if balancer.needs_losses_after else {}
        factors = self.making.normaliser.observe(figures)
        told = {name: value * factors[name] for name, value in figures.items()}
        if balancer.mode == "last-layer":
            norms = {name: norm * factors[name] for name, norm in self.gradients.norms.items()}
            balancer.observe_norms(step, norms, told)
        balancer.observe(step, told)
        if balancer.needs_losses_after:
            balancer.observe_after(step, told, {name: value * factors[name] for name, value in after.items()})
        return told

    def _tried(self, step: int, packs: Sequence[Batch]) -> dict[str, torch.Tensor] | None:
        """The gradient of a step; None when memory runs out.

        Not an `except` around the second try: while it is handled, an error holds all that the first one computed.
        """
        try:
            return self.gradients.of(step, packs)
        except torch.OutOfMemoryError:
            return None

    def _smaller(self, step: int, packs: Sequence[Batch]) -> list[Batch]:
        """The packs of a step again, at most half as large. Raises TrainingError when they cannot be."""
        self.making.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        largest = max(pack.pack.tokens for pack in packs)
        self.max_tokens = largest // 2
        smaller = self.batcher.batch(step, self.max_tokens)
        if max(pack.pack.tokens for pack in smaller) >= largest:
            raise TrainingError(f"step {step}: a pack of {largest:,} tokens, one example, does not fit into the device's "
                                "memory; lower encoder.max_length, or set training.gradient_checkpointing")  # fmt: skip
        self.notes.append(f"step {step}: a pack of {largest:,} tokens did not fit into the device's memory; from now on "
                          f"packs have at most {self.max_tokens:,}. Set training.max_tokens_per_pack to that")  # fmt: skip
        return smaller

    def _check(self, step: int, figures: Mapping[str, float], norm: float, rate: float) -> None:
        bad = next((f"the loss of {name}" for name, value in figures.items() if not _finite(value)), None)
        if bad is None and not _finite(norm) and not self.making.precision.scaled:
            bad = "the gradient"
        if bad is not None:
            raise DivergedError(f"step {step}: {bad} is not finite; lower `training.learning_rate` (now {rate:.2g})")


def _finite(value: float) -> bool:
    return value - value == 0.0
