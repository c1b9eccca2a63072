"""The loop: training is an iterator over steps. Logging, evaluation and saving are plain `if`s of whoever iterates.

On CUDA, where nothing in the next step depends on them, the figures of a step (losses, norm of the gradient) are read when
the next one has been asked of the device, which so never runs dry. Records are the same and in the same order, one
step late. Whether the step is bad (`guard.py`) is then judged on the device, and a bad one's update is not made there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from manyheads.balance.base import Balancer
from manyheads.errors import TrainingError
from manyheads.training.adatask import AdaTask, clip_apart
from manyheads.training.batches import Batch, Batcher, prefetched
from manyheads.training.device import Figures, sent
from manyheads.training.frozen import Frozen, frozen_layers
from manyheads.training.gradients import Gradients
from manyheads.training.guard import LARGEST, Guard, Skip, reason
from manyheads.training.optim import set_rates
from manyheads.training.phases import Phase, enter
from manyheads.training.sharded import Sharded, clipped
from manyheads.training.team import ALONE, Team

if TYPE_CHECKING:
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.training.anchor import Anchor
    from manyheads.training.averaging import Average
    from manyheads.training.losses import Normaliser
    from manyheads.training.parts import Part
    from manyheads.training.precision import Precision

BALANCING = "balancing"
"""The optimizer's group of learned loss weights."""
PLACES = 5
"""Rows of a bad step that are named by file and line."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step did. Losses are the tasks' normalised means before their weights; a bad step has none."""

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
    skip: Skip | None = None
    """Why nothing was learned from it."""
    pulls: Mapping[str, float] = field(default_factory=dict)
    """Of each task, where the norms of their gradients are known: how fast it moves what is shared, 1 as if alone."""


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
    guard: Guard = field(default_factory=Guard)
    team: Team = ALONE
    shard_layers: bool = False
    """Whether each process is to hold a part of the layers."""
    anchor: Anchor | None = None
    """What holds the encoder near to where it began."""
    steps: int = 1
    """Of the whole run, over which teachers give way to gold labels."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A step whose update is made, or asked of the device, and whose figures may still be on their way."""

    step: int
    phase: str
    rate: float
    packs: Sequence[Batch]
    names: Sequence[str]
    figures: Figures
    """The loss of each of `names`, and the norm of the gradient."""
    weights: Mapping[str, float] | None
    """As in the record, where the balancer has moved on before it is made."""
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
        making: Making,
    ) -> None:
        """`parts`: what may be trained at all. Gradients are clipped to a global norm of `making.clip`."""
        self.model = model
        self.tasks = tasks
        self.batcher = batcher
        self.parts = parts
        self.making = making
        self.guard = making.guard
        self.team = making.team
        self.device = next(model.parameters()).device
        self.behind = self.device.type == "cuda" and reads_no_figures(making)
        """Whether `run` reads the figures of a step when the next one has begun."""
        self.max_tokens: int | None = None
        """Lowered when memory runs out."""
        self.notes: list[str] = []
        """What the user should be told; whoever iterates takes them."""
        self.sharded: Sharded | None = None
        self.average: Average | None = None
        """Takes samples of the weights after each step of `run`."""
        self._frozen: Frozen | None = None
        self._told_full = False
        self.gradients = Gradients(
            model,
            tasks,
            making.balancer,
            making.normaliser,
            precision=making.precision,
            seed=making.seed,
            team=making.team,
        )
        self.gradients.anchor = making.anchor
        self.gradients.steps = making.steps

    def run(
        self, phase: Phase, first: int, stop: int, start: int = 0, *, halted: Callable[[], bool] = lambda: False
    ) -> Iterator[StepRecord]:
        """Records of steps `first` to `stop - 1` of a phase that began at step `start`; fewer once `halted` says so."""
        self.prepare(phase)
        batches = prefetched(self.batcher, first, stop, self.device)
        before: Begun | None = None
        try:
            for step, packs in enumerate(batches, start=first):
                begun = self._begun(phase, step, packs, start)
                if self.average is not None:
                    self.average.add(step + 1)
                if before is not None:
                    yield self._ended(before)
                before = begun if self.behind else None
                if not self.behind:
                    yield self._ended(begun)
                if halted():
                    break
            if before is not None:
                yield self._ended(before)
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

    def divide(self) -> None:
        """Divide the layers among the processes, if that is wanted. All must do it, before anything else but checks."""
        if self.making.shard_layers:
            self.sharded = Sharded(self.model.encoder, self.parts, self.making.optimizer, self.team)
            self.gradients.sharded, self.parts = self.sharded, self.sharded.parts

    def whole(self) -> AbstractContextManager[None]:
        """A context in which the process that leads has a model without divided layers. All must enter it."""
        return nullcontext() if self.sharded is None else self.sharded.whole()

    def flush(self) -> None:
        """Let what is in the store of frozen layers' outputs outlive the process."""
        if self._frozen is not None:
            self._frozen.store.flush()

    def close(self) -> None:
        """Let the store of frozen layers' outputs go, if there is one; the next run reads what it holds."""
        if self._frozen is not None:
            self._frozen.store.close()
            self._frozen = self.gradients.frozen = None

    def step(self, phase: Phase, step: int, packs: list[Batch], start: int = 0) -> StepRecord:
        """One step of a phase that began at step `start`, on the packs of the batcher."""
        return self._ended(self._begun(phase, step, packs, start))

    def _begun(self, phase: Phase, step: int, packs: list[Batch], start: int) -> Begun:
        """Gradient and update of a step. Where figures are read behind it, nothing here waits for the device."""
        balancer, optimizer = self.making.balancer, self.making.optimizer
        factor = phase.factor(step - start)
        rates = {part.name: phase.rates.of(part, self.model.encoder.depth) * factor for part in self.parts}
        set_rates(optimizer, {**rates, BALANCING: balancer.parameters_rate})
        rate = phase.rates.base * factor
        packs, sums = self._computed(step, [] if step in self.guard.avoided else packs)
        if not sums:
            return Begun(step, phase.name, rate, packs, (), Figures([torch.zeros(())]), {})
        self.gradients.scaler.unscale_(optimizer)
        figures = Figures([*sums.values(), self._clipped().float()])
        limits = self.guard.limits(list(sums))
        weights = balancer.shown() if self.behind else None
        begun = Begun(step, phase.name, rate, packs, tuple(sums), figures, weights, limits)
        if self.behind:
            self._update_unless_bad(figures, limits)
        elif self._reason(begun, figures.read()) is None:
            self.gradients.scaler.step(optimizer)
        self.gradients.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return begun

    def _update_unless_bad(self, figures: Figures, limits: Sequence[float]) -> None:
        """The update, made by the device if it finds the step good: the fused optimizer looks at `found_inf` (torch.amp)."""
        values = figures.on_device
        good = (values <= sent([*limits, LARGEST], self.device)) & values.isfinite()
        optimizer: Any = self.making.optimizer
        optimizer.found_inf = (~good.all()).float()
        optimizer.step()
        del optimizer.found_inf

    def _ended(self, begun: Begun) -> StepRecord:
        """Read the figures of a step, tell who wants to know them, and make its record."""
        *values, norm = begun.figures.read()
        if not begun.names:
            return StepRecord(begun.step, begun.phase, {}, {}, {}, begun.rate, 0.0, 0)
        tokens = {name: tokens for name, tokens in self.batcher.tokens(begun.step).items() if name in begun.names}
        bad = self._reason(begun, [*values, norm])
        if bad is not None:
            skip = self._skip(begun, *bad)
            return StepRecord(begun.step, begun.phase, {}, {}, tokens, begun.rate, 0.0, len(begun.packs), skip)
        losses = self._told(begun.step, begun.packs, dict(zip(begun.names, values, strict=True)))
        self.guard.accept(losses)
        if self._frozen is not None and self._frozen.store.full and not self._told_full:
            self._told_full = True
            self.notes.append(f"step {begun.step}: the store of frozen layers' outputs in {self._frozen.store.folder} has "
                              "reached training.frozen_store_gb; what is not in it is computed every time")  # fmt: skip
        weights = self.making.balancer.shown() if begun.weights is None else begun.weights
        pulls = {} if self.behind else self.gradients.pulls
        return StepRecord(
            begun.step, begun.phase, losses, weights, tokens, begun.rate, norm, len(begun.packs), None, pulls
        )

    def _reason(self, begun: Begun, figures: Sequence[float]) -> tuple[str, tuple[str, ...]] | None:
        """Why a step is bad, and the tasks to blame. A loss scale makes gradients overflow now and then: it sees to that."""
        *losses, norm = figures
        judged = None if self.making.precision.scaled else norm
        return reason(dict(zip(begun.names, losses, strict=True)), begun.limits, judged)

    def _skip(self, begun: Begun, why: str, blamed: tuple[str, ...]) -> Skip:
        """A bad step with its rows."""
        tasks = blamed or self.gradients.culprits(begun.step, begun.packs) or tuple(begun.names)
        rows = {name: found for name, found in self.batcher.rows(begun.step).items() if name in tasks}
        tables = {feed.task.name: feed.table for feed in self.batcher.feeds}
        places = [tables[name].where(i) for name, found in rows.items() for i in found[:PLACES]][:PLACES]
        told = why if blamed else f"{why} ({', '.join(tasks)})"
        return Skip(begun.step, told, tasks, rows, tuple(places))

    def _computed(self, step: int, packs: list[Batch]) -> tuple[list[Batch], dict[str, torch.Tensor]]:
        """The gradient of a step, in smaller packs when memory runs out: the packs, and the mean loss of each task."""
        if self.max_tokens is not None and any(pack.pack.tokens > self.max_tokens for pack in packs):
            packs = self.batcher.batch(step, self.max_tokens)
        if not packs and (self.team.size == 1 or step in self.guard.avoided or not self.batcher.rows(step)):
            return [], {}
        sums = self._tried(step, packs)
        if sums is None:
            packs = self._smaller(step, packs)
            sums = self._tried(step, packs)
        if sums is None:
            raise TrainingError(f"step {step}: packs of {self.max_tokens:,} tokens do not fit into memory either; "
                                "lower training.max_tokens_per_pack further")  # fmt: skip
        return packs, sums

    def _clipped(self) -> torch.Tensor:
        """Clip the gradient; its norm before that. Learned weights of the balancing have no part in it."""
        own = {id(parameter) for parameter in self.making.balancer.parameters()}
        groups = self.making.optimizer.param_groups
        trained = [p for group in groups for p in group["params"] if p.grad is not None and id(p) not in own]
        if not trained:
            return torch.zeros((), device=self.device)
        if isinstance(self.making.optimizer, AdaTask):
            self.making.optimizer.given = self.gradients.apart
            return clip_apart(self.gradients.apart, self.gradients.own, self.making.clip)
        if self.sharded is not None:
            return clipped(trained, self.making.clip, self.team)
        return torch.nn.utils.clip_grad_norm_(trained, self.making.clip)

    def _told(self, step: int, packs: Sequence[Batch], figures: Mapping[str, float]) -> dict[str, float]:
        """Tell the balancer of a step that is done. The losses, in the units of the steps to come."""
        balancer = self.making.balancer
        after = self.gradients.losses_again(step, packs) if balancer.needs_losses_after else {}
        factors = self.making.normaliser.observe(figures)
        told = {name: value * factors[name] for name, value in figures.items()}
        norms, at_heads = ({name: norm * factors[name] for name, norm in found.items()}
                           for found in (self.gradients.norms, self.gradients.head_norms))  # fmt: skip
        if balancer.mode == "last-layer":
            balancer.observe_norms(step, norms, told)
        if balancer.mode == "norms":
            balancer.observe_pull(step, at_heads, norms)
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
            if self.team.size > 1:  # the others are already adding up
                raise TrainingError(f"step {step} does not fit into the memory of process {self.team.rank}; set "
                                    "training.max_tokens_per_pack, or lower it") from None  # fmt: skip
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


def reads_no_figures(making: Making) -> bool:
    """Whether no step of such a trainer depends on the figures of the step before it.

    Some balancing methods observe losses or norms, `initial-loss` keeps the first ones, and float16 skips a step by them.
    """
    balancer = making.balancer
    watching = type(balancer).observe is not Balancer.observe or balancer.needs_losses_after or balancer.parameters()
    return (
        balancer.mode == "losses"
        and not watching
        and making.normaliser.method != "initial-loss"
        and not making.precision.scaled
    )
