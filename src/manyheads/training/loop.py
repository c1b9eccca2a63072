"""The loop: training is an iterator over steps. Logging, evaluation and saving are plain `if`s of whoever iterates.

A step is one pack or several. Balancing methods that need the gradient of each task get it by running the tasks one
after the other: their sequences are disjoint and there is no padding, so that costs no more products than running them
together, and a task's gradient is what its backward pass left in `.grad`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from manyheads.balance.base import combined, gramian
from manyheads.errors import DivergedError, TrainingError
from manyheads.training.batches import Batch, Batcher, prefetched
from manyheads.training.optim import set_rates
from manyheads.training.phases import Phase, enter

if TYPE_CHECKING:
    from torch import nn

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
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=making.precision.scaled)
        self._last_layer: list[nn.Parameter] = []
        self._last_shared = 0
        self._norms: dict[str, float] = {}
        """Of each task's gradient of its unweighted loss at the last shared layer, in this step."""
        self._shared: list[nn.Parameter] = []
        self._own: dict[str, list[nn.Parameter]] = {}

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
        self._survey()

    def step(self, phase: Phase, step: int, packs: list[Batch], start: int = 0) -> StepRecord:
        """One step of a phase that began at step `start`, on the packs of the batcher."""
        factor = phase.factor(step - start)
        rates = {part.name: phase.rates.of(part, self.model.encoder.depth) * factor for part in self.parts}
        set_rates(self.making.optimizer, {**rates, BALANCING: self.making.balancer.parameters_rate})
        return self._step(step, packs, phase.name, phase.rates.base * factor)

    def _survey(self) -> None:
        """Which parameters are shared in this phase, and which are a task's own."""
        on = [(part, [p for p in part.parameters if p.requires_grad]) for part in self.parts]
        self._shared = [p for part, found in on for p in found if len(part.tasks) != 1]
        self._own = {name: [p for part, found in on for p in found if part.tasks == (name,)] for name in self.tasks}
        layers = [(part.layer, found) for part, found in on if part.place == "layer" and not part.tasks and found]
        top = max((layer for layer, _ in layers), default=-1)
        self._last_layer = [p for layer, found in layers for p in found if layer == top]
        self._last_shared = max(top, 0)

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
        self._scaler.unscale_(optimizer)
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
        self._scaler.step(optimizer)
        self._scaler.update()
        optimizer.zero_grad(set_to_none=True)
        figures = self._told(step, packs, figures)
        tokens = {name: sum(pack.tokens.get(name, 0) for pack in packs) for name in figures}
        return StepRecord(step, phase, figures, balancer.shown(), tokens, rate, norm_value, len(packs))

    def _told(self, step: int, packs: Sequence[Batch], figures: Mapping[str, float]) -> dict[str, float]:
        """Tell the balancer of a step that is done. The losses, in the units of the steps to come."""
        balancer = self.making.balancer
        after = self._losses_again(step, packs) if balancer.needs_losses_after else {}
        factors = self.making.normaliser.observe(figures)
        told = {name: value * factors[name] for name, value in figures.items()}
        if balancer.mode == "last-layer":
            norms = {name: norm * factors[name] for name, norm in self._norms.items()}
            balancer.observe_norms(step, norms, told)
        balancer.observe(step, told)
        if balancer.needs_losses_after:
            balancer.observe_after(step, told, {name: value * factors[name] for name, value in after.items()})
        return told

    def _gradients(self, step: int, packs: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """Leave the step's gradient in `.grad`; the mean loss of each task, still on the device."""
        torch.manual_seed(step_seed(self.making.seed, step))
        self.making.optimizer.zero_grad(set_to_none=True)
        balancer = self.making.balancer
        totals = _totals(packs)
        sums = {name: torch.zeros((), device=self.device) for name in self.tasks if name in totals}
        present = list(sums)
        if balancer.mode == "losses":
            for pack in packs:
                weights = balancer.weights(step, present)
                self._backward(pack, totals, sums, weights)
        elif balancer.mode == "last-layer":
            self._observed(step, packs, totals, sums)
        else:
            self._combined(step, packs, totals, sums)
        penalty = balancer.penalty(present)
        if penalty is not None:
            self._scaler.scale(penalty.to(self.device)).backward()  # type: ignore[no-untyped-call]
        return sums

    def _losses(self, pack: Batch, totals: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """Each task's share of the step's mean loss."""
        with self.making.precision.region():
            outputs = self.model(pack.pack.to(self.device), pack.reads)
        return self._means(pack, totals, outputs)

    def _means(
        self, pack: Batch, totals: Mapping[str, float], outputs: Mapping[str, Mapping[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        """Losses of the outputs of one pack, in float32, by their share of the step."""
        losses = {}
        for name, output in outputs.items():
            arrays = {key: value.to(self.device) for key, value in pack.targets[name].items()}
            loss = self.tasks[name].loss({key: value.float() for key, value in output.items()}, arrays)
            losses[name] = self.making.normaliser.scaled(name, loss) * (pack.amounts[name] / (totals[name] or 1.0))
        return losses

    def _backward(
        self,
        pack: Batch,
        totals: Mapping[str, float],
        sums: dict[str, torch.Tensor],
        weights: Mapping[str, torch.Tensor],
    ) -> None:
        self._add(self._losses(pack, totals), sums, weights)

    def _add(
        self, losses: Mapping[str, torch.Tensor], sums: dict[str, torch.Tensor], weights: Mapping[str, torch.Tensor]
    ) -> None:
        """Note the losses, and go backward from their weighted sum."""
        total = torch.zeros((), device=self.device)
        for name, loss in losses.items():
            sums[name] += loss.detach()
            total = total + weights[name].to(self.device) * loss
        if total.requires_grad:
            self._scaler.scale(total).backward()  # type: ignore[no-untyped-call]

    def _observed(
        self, step: int, packs: Sequence[Batch], totals: Mapping[str, float], sums: dict[str, torch.Tensor]
    ) -> None:
        """The weighted sum of losses, with the norm of each task's gradient at the last shared layer.

        Up to that layer all tasks run together, forward and backward; that layer and what is above it runs task by task.
        """
        balancer, scale = self.making.balancer, self._scaler.get_scale()
        weights = balancer.weights(step, list(sums))
        grown: dict[str, list[torch.Tensor]] = {}
        for pack in packs:
            whole = pack.pack.to(self.device)
            with self.making.precision.region():
                states = self.model.below(whole, self._last_shared)
            cut: list[list[torch.Tensor]] = []
            for name, asked in pack.reads.items():
                before = [None if p.grad is None else p.grad.clone() for p in self._last_layer]
                leaves = [
                    whole.segments.cut(state, *asked).detach().requires_grad_(state.requires_grad) for state in states
                ]
                cut.append(leaves)
                part = replace(pack, pack=whole.part(*asked), reads={name: (0, asked[1] - asked[0])})
                with self.making.precision.region():
                    outputs = self.model.above(leaves, part.pack, part.reads, self._last_shared)
                self._add(self._means(part, totals, outputs), sums, weights)
                _grow(grown.setdefault(name, []), self._last_layer, before)
            _backward_below(states, cut)
        norms = {name: float(torch.stack([g.norm() for g in found]).norm()) / scale if found else 0.0
                 for name, found in grown.items()}  # fmt: skip
        self._norms = {
            name: norm / float(weights[name]) if float(weights[name]) else 0.0 for name, norm in norms.items()
        }

    def _combined(
        self, step: int, packs: Sequence[Batch], totals: Mapping[str, float], sums: dict[str, torch.Tensor]
    ) -> None:
        """Task by task; the shared gradient is a weighted sum that depends on how the tasks' gradients lie."""
        present, gradients = list(sums), []
        static = self.making.balancer.weights(step, present)
        one = dict.fromkeys(present, torch.ones(()))
        for name in present:
            for pack in packs:
                if name in pack.reads:
                    self._backward(pack, totals, sums, one)
            gradients.append([p.grad for p in self._shared])
            for parameter in self._shared:
                parameter.grad = None
            for parameter in self._own[name]:
                if parameter.grad is not None:
                    parameter.grad.mul_(float(static[name]))
        weights_K = self.making.balancer.combine(step, gramian(gradients), present)
        for parameter, gradient in zip(self._shared, combined(gradients, weights_K), strict=True):
            parameter.grad = gradient

    @torch.no_grad()
    def _losses_again(self, step: int, packs: Sequence[Batch]) -> dict[str, float]:
        """The losses of the same packs, with the same dropout, after the update."""
        torch.manual_seed(step_seed(self.making.seed, step))
        totals = _totals(packs)
        sums: dict[str, float] = {}
        for pack in packs:
            for name, loss in self._losses(pack, totals).items():
                sums[name] = sums.get(name, 0.0) + float(loss)
        return sums

    def _tried(self, step: int, packs: Sequence[Batch]) -> dict[str, torch.Tensor] | None:
        """The gradient of a step; None when memory runs out.

        Not an `except` around the second try: while it is handled, an error holds all that the first one computed.
        """
        try:
            return self._gradients(step, packs)
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


def _grow(grown: list[torch.Tensor], parameters: Sequence[nn.Parameter], before: Sequence[torch.Tensor | None]) -> None:
    """Add to `grown` what gradients have grown by since `before`."""
    pairs = [(p.grad, old) for p, old in zip(parameters, before, strict=True) if p.grad is not None]
    diffs = [new.clone() if old is None else new - old for new, old in pairs]
    if not grown:
        grown.extend(diffs)
        return
    for total, diff in zip(grown, diffs, strict=True):
        total.add_(diff)


def _backward_below(states: Sequence[torch.Tensor], cut: Sequence[Sequence[torch.Tensor]]) -> None:
    """Carry the gradients of the tasks' parts, which lie in the order of the pack, on to the states they were cut from."""
    reached = [i for i, state in enumerate(states) if state.requires_grad]
    gradients = [torch.cat([_gradient(leaves[i]) for leaves in cut]) for i in reached]
    if reached:
        torch.autograd.backward([states[i] for i in reached], gradients)


def _gradient(leaf: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _totals(packs: Sequence[Batch]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for pack in packs:
        for name, amount in pack.amounts.items():
            totals[name] = totals.get(name, 0.0) + amount
    return totals


def step_seed(seed: int, step: int) -> int:
    """The seed of a step's dropout: depends on nothing else, so any step can be repeated."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=8).digest(), "big") >> 1


def _finite(value: float) -> bool:
    return value - value == 0.0
