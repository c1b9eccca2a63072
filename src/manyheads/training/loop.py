"""The training loop: an iterator over steps. Logging, evaluating and saving are up to the caller.

On CUDA, where nothing in the next step depends on them, the figures of a step (losses, norm of the gradient) are read once
the next step has been queued (`cuda/overlap.py`). Records are then the same and in the same order, one step late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from manyheads.balance.base import Balancer
from manyheads.model import MultiTaskModel
from manyheads.tasks.base import Task
from manyheads.training.adatask import AdaTask, clip_by_task
from manyheads.training.anchor import Anchor
from manyheads.training.averaging import Average
from manyheads.training.batches import Batcher, StepBatch, prefetched
from manyheads.training.cuda.memory import PackLimit
from manyheads.training.cuda.overlap import Figures, can_defer, pinned, update_unless_bad
from manyheads.training.distributed.sharded import Sharded, clip_sharded
from manyheads.training.distributed.team import ALONE, Team
from manyheads.training.frozen import Frozen, frozen_layers
from manyheads.training.gradients import Gradients
from manyheads.training.guard import Guard, Skip, find_fault
from manyheads.training.losses import Normaliser, Objective
from manyheads.training.optim import BALANCING, set_rates
from manyheads.training.parts import Part
from manyheads.training.phases import Phase, enter
from manyheads.training.precision import Precision
from manyheads.training.step_record import StepRecord

PLACES = 5
"""Rows of a bad step that are shown with file and line."""


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of a trainer that the run file decides."""

    optimizer: torch.optim.Optimizer
    balancer: Balancer
    normaliser: Normaliser
    precision: Precision
    clip: float
    """Global norm to which gradients are clipped."""
    seed: int
    steps_per_epoch: float
    frozen: Callable[[MultiTaskModel, int], Frozen | None] | None
    """Opens the store of the output of a model's bottom layers; None: they are computed every time."""
    guard: Guard = field(default_factory=Guard)
    team: Team = ALONE
    shard_layers: bool = False
    """Whether layers are divided among processes."""
    anchor: Anchor | None = None
    steps: int = 1
    """Of the whole run."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """A step whose update is made, or queued on the device, and whose figures may not have been read."""

    step: int
    phase: str
    rate: float
    batch: StepBatch
    names: Sequence[str]
    figures: Figures
    """The loss of each of `names`, and the norm of the gradient."""
    weights: Mapping[str, float] | None
    """As in the record, where the balancer moves on before the record is made."""
    limits: Sequence[float] = ()
    """The largest loss of each of `names` that is no spike."""


class Trainer:
    """Trains a model step by step."""

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task[Any]],
        batcher: Batcher,
        parts: Sequence[Part],
        components: Components,
    ) -> None:
        """`parts`: everything that any phase may train."""
        self.model = model
        self.tasks = tasks
        self.batcher = batcher
        self.parts = parts
        self.components = components
        self.guard = components.guard
        self.team = components.team
        self.device = next(model.parameters()).device
        self.deferred = self.device.type == "cuda" and can_defer(
            components.balancer, components.normaliser, components.precision
        )
        """Whether `run` reads the figures of a step when the next one has begun."""
        self.notes: list[str] = []
        """Lines for the user; the caller takes them out."""
        self.sharded: Sharded | None = None
        self.average: Average | None = None
        """Samples the weights after each step of `run`."""
        self._frozen: Frozen | None = None
        self._noted_full = False
        objective = Objective(
            tasks, components.normaliser, components.precision, anchor=components.anchor, steps=components.steps
        )
        self.gradients = Gradients(model, objective, components.balancer, seed=components.seed, team=self.team)
        self.pack_limit = PackLimit(self.gradients, batcher, self.team, self.notes)

    def run(
        self, phase: Phase, first: int, stop: int, start: int = 0, *, halted: Callable[[], bool] = lambda: False
    ) -> Iterator[StepRecord]:
        """Records of steps `first` to `stop - 1` of a phase that began at step `start`; ends early once `halted` is true."""
        self.prepare(phase)
        ready = pinned if self.device.type == "cuda" else lambda batch: batch
        batches = prefetched(self.batcher, first, stop, ready)
        before: _Begun | None = None
        try:
            for step, batch in enumerate(batches, start=first):
                begun = self._begin(phase, step, batch, start)
                if self.average is not None:
                    self.average.add(step + 1)
                if before is not None:
                    yield self._end(before)
                before = begun if self.deferred else None
                if not self.deferred:
                    yield self._end(begun)
                if halted():
                    break
            if before is not None:
                yield self._end(before)
        finally:
            batches.close()  # type: ignore[attr-defined]

    def step(self, phase: Phase, step: int, batch: StepBatch, start: int = 0) -> StepRecord:
        """One step of a phase that began at step `start`."""
        return self._end(self._begin(phase, step, batch, start))

    def prepare(self, phase: Phase) -> None:
        """Freeze and unfreeze parameters; must come before the steps of a phase, and again after an evaluation."""
        enter(phase, self.model, self.parts)
        self.gradients.survey(self.parts)
        opens = self.components.frozen
        layer = frozen_layers(self.model) if opens else 0
        if layer != (self._frozen.layer if self._frozen else 0):
            self.close()
            self._frozen = opens(self.model, layer) if opens and layer else None
        # A phase that sees each example once would write what nobody reads.
        again = phase.steps > self.components.steps_per_epoch or (
            self._frozen is not None and len(self._frozen.store) > 0
        )
        self.gradients.passes.frozen = self._frozen if again else None

    def divide(self) -> None:
        """Divide the layers among the processes, if the run file asks for it. A collective call, before any step."""
        if self.components.shard_layers:
            self.sharded = Sharded(self.model.encoder, self.parts, self.components.optimizer, self.team)
            self.gradients.passes.sharded, self.parts = self.sharded, self.sharded.parts

    def whole(self) -> AbstractContextManager[None]:
        """A context in which the model of process 0 has no divided layers. A collective call."""
        return nullcontext() if self.sharded is None else self.sharded.whole()

    def flush(self) -> None:
        """Write the index of the frozen layers' store, so that its content outlives the process."""
        if self._frozen is not None:
            self._frozen.store.flush()

    def close(self) -> None:
        """Close the frozen layers' store, if there is one; the next run reads it."""
        if self._frozen is not None:
            self._frozen.store.close()
            self._frozen = self.gradients.passes.frozen = None

    def _begin(self, phase: Phase, step: int, batch: StepBatch, start: int) -> _Begun:
        """Gradient and update of a step. With deferred figures, nothing here waits for the device."""
        balancer, optimizer = self.components.balancer, self.components.optimizer
        factor = phase.factor(step - start)
        rates = {part.name: phase.rates.of(part, self.model.encoder.depth) * factor for part in self.parts}
        set_rates(optimizer, {**rates, BALANCING: balancer.parameters_rate})
        rate = phase.rates.base * factor
        if step in self.guard.avoided:
            batch = StepBatch((), replace(batch.draw, examples={}))
        losses: dict[str, torch.Tensor] = {}
        if batch.packs or (self.team.size > 1 and batch.draw.examples):
            batch, losses = self.pack_limit.compute(step, batch)
        if not losses:
            return _Begun(step, phase.name, rate, batch, (), Figures([torch.zeros(())]), {})
        scaler = self.gradients.passes.scaler
        scaler.unscale_(optimizer)
        figures = Figures([*losses.values(), self._clip().float()])
        limits = self.guard.limits(list(losses))
        weights = balancer.shown() if self.deferred else None
        begun = _Begun(step, phase.name, rate, batch, tuple(losses), figures, weights, limits)
        if self.deferred:
            update_unless_bad(optimizer, figures, limits)
        elif self._fault(begun, figures.read()) is None:
            scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return begun

    def _end(self, begun: _Begun) -> StepRecord:
        """Read the figures of a step, pass them on to the balancer and the guard, and make the record."""
        *values, norm = begun.figures.read()
        step, phase, rate, packs = begun.step, begun.phase, begun.rate, len(begun.batch)
        if not begun.names:
            return StepRecord(step, phase, {}, {}, {}, rate, 0.0, 0)
        tokens = {name: tokens for name, tokens in begun.batch.draw.tokens.items() if name in begun.names}
        fault = self._fault(begun, [*values, norm])
        if fault is not None:
            return StepRecord(step, phase, {}, {}, tokens, rate, 0.0, packs, self._skip(begun, *fault))
        losses = self._observe(begun, dict(zip(begun.names, values, strict=True)))
        self.guard.accept(losses)
        if self._frozen is not None and self._frozen.store.full and not self._noted_full:
            self._noted_full = True
            self.notes.append(f"step {step}: the store of frozen layers' outputs in {self._frozen.store.folder} has "
                              "reached training.frozen_store_gb; what is not in it is computed every time")  # fmt: skip
        weights = self.components.balancer.shown() if begun.weights is None else begun.weights
        pulls = {} if self.deferred else self.gradients.observed.pulls
        return StepRecord(step, phase, losses, weights, tokens, rate, norm, packs, None, pulls)

    def _fault(self, begun: _Begun, figures: Sequence[float]) -> tuple[str, tuple[str, ...]] | None:
        """Why a step is bad, and the tasks to blame. A loss scale makes gradients overflow now and then, and handles it."""
        *losses, norm = figures
        judged = None if self.components.precision.scaled else norm
        return find_fault(dict(zip(begun.names, losses, strict=True)), begun.limits, judged)

    def _skip(self, begun: _Begun, reason: str, blamed: tuple[str, ...]) -> Skip:
        """A bad step with its rows."""
        tasks = blamed or self.gradients.culprits(begun.step, begun.batch) or tuple(begun.names)
        rows = {name: found for name, found in begun.batch.draw.rows.items() if name in tasks}
        tables = {feed.task.name: feed.table for feed in self.batcher.feeds}
        places = [tables[name].where(i) for name, found in rows.items() for i in found[:PLACES]][:PLACES]
        return Skip(begun.step, reason if blamed else f"{reason} ({', '.join(tasks)})", tasks, rows, tuple(places))

    def _clip(self) -> torch.Tensor:
        """Clip the gradient; returns its norm before that. Learned loss weights are left out."""
        optimizer, most = self.components.optimizer, self.components.clip
        learned = {id(parameter) for parameter in self.components.balancer.parameters()}
        trained = [p for group in optimizer.param_groups for p in group["params"]
                   if p.grad is not None and id(p) not in learned]  # fmt: skip
        if not trained:
            return torch.zeros((), device=self.device)
        if isinstance(optimizer, AdaTask):
            optimizer.by_task = self.gradients.observed.by_task
            return clip_by_task(optimizer.by_task, self.gradients.active.own, most)
        if self.sharded is not None:
            return clip_sharded(trained, most, self.team)
        return torch.nn.utils.clip_grad_norm_(trained, most)

    def _observe(self, begun: _Begun, figures: Mapping[str, float]) -> dict[str, float]:
        """Let the balancer observe a step. Returns the losses, in the units of later steps."""
        balancer, step, observed = self.components.balancer, begun.step, self.gradients.observed
        after = self.gradients.losses_again(step, begun.batch) if balancer.needs_losses_after else {}
        factors = self.components.normaliser.observe(figures)

        def converted(values: Mapping[str, float]) -> dict[str, float]:
            return {name: value * factors[name] for name, value in values.items()}

        losses = converted(figures)
        if balancer.mode == "last-layer":
            balancer.observe_norms(step, converted(observed.norms), losses)
        if balancer.mode == "norms":
            balancer.observe_pull(step, converted(observed.head_norms), converted(observed.norms))
        balancer.observe(step, losses)
        if balancer.needs_losses_after:
            balancer.observe_after(step, losses, converted(after))
        return losses
