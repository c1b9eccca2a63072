"""Phases of a run: how long, what is frozen, how fast each part learns; and ready-made plans of them.

A frozen part runs in evaluation mode (no dropout) and its weights do not change by a bit. Freezing the bottom layers
freezes the embeddings under them too, or their backward pass would not be spared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from manyheads.errors import UsageError

if TYPE_CHECKING:
    from manyheads.model import MultiTaskModel
    from manyheads.training.parts import Part

Curve = Literal["linear", "cosine", "constant"]
SMALL_RATE = 0.4
"""Factor on the rate once everything is thawed: the heads are in place by then."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """What a phase leaves as it is."""

    everything: bool = False
    encoder: bool = False
    embeddings: bool = False
    layers: frozenset[int] = frozenset()
    heads: frozenset[str] = frozenset()

    @staticmethod
    def below(layer: int) -> Freeze:
        """Embeddings and the layers under `layer`; nothing for 0."""
        return Freeze(embeddings=layer > 0, layers=frozenset(range(layer)))

    def holds(self, part: Part) -> bool:
        """Whether a part is frozen."""
        if self.everything:
            return True
        if part.place == "head":
            return part.tasks[0] in self.heads
        return self.encoder or (self.embeddings if part.place == "embeddings" else part.layer in self.layers)


@dataclass(frozen=True, slots=True)
class Rates:
    """Learning rates of parts: `base * decay ** (layers above)` in the encoder (Howard & Ruder 2018), `head` in heads."""

    base: float
    head: float
    decay: float = 1.0
    factors: Mapping[str, float] = field(default_factory=dict)
    """Of single tasks, on everything that belongs to one task alone."""

    def of(self, part: Part, depth: int) -> float:
        """The rate of a part at the top of the schedule."""
        rate = self.head if part.place == "head" else self.base * self.decay ** (depth - 1 - part.layer)
        return rate * (self.factors.get(part.tasks[0], 1.0) if len(part.tasks) == 1 else 1.0)


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training."""

    name: str
    steps: int
    rates: Rates
    freeze: Freeze = Freeze()
    curve: Curve = "linear"
    warmup: int = 0
    """Steps."""
    patience: int | None = None
    """Evaluations without a better combined score after which the phase ends; None: never."""

    def factor(self, step: int) -> float:
        """Of the rates, at a step of the phase from 0: up linearly over `warmup`, then along the curve to 0 (or constant)."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.curve == "constant":
            return 1.0
        return max(0.0, 1 - done) if self.curve == "linear" else 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


READY_MADE = ("heads-then-all", "gradual", "thirds")


def ready_made(plan: str, whole: Phase, depth: int, steps_an_epoch: float) -> list[Phase]:
    """The phases of a plan, together as long as `whole`, whose rates, curve and warmup they take over.

    `heads-then-all`: heads alone for a fifth of the run, then everything (LP-FT, Kumar et al. 2022).
    `gradual`: heads alone for two epochs (at most 30 % of the run), then three more layers at a time from the top, then
    everything at 0.4 of the rate (gradual unfreezing, Howard & Ruder 2018).
    `thirds`: the bottom third is never trained, the top third always, the layers between are thawed one by one from the top.
    """
    if plan == "heads-then-all":
        cuts: list[tuple[str, Freeze, float]] = [("heads", Freeze(encoder=True), 0.2), ("all", Freeze(), 0.8)]
    elif plan == "gradual":
        first = min(0.3, 2 * steps_an_epoch / whole.steps)
        starts = [max(0, depth - 3 * i) for i in range(1, math.ceil(depth / 3) + 1)]
        share = (1 - first) / (len(starts) + 1)
        cuts = [("heads", Freeze(encoder=True), first)]
        cuts += [(f"layers {start} to {depth - 1}", _thawed_from(start), share) for start in starts]
        cuts += [("all, small rate", Freeze(), share)]
    else:
        bottom, top = depth // 3, depth - depth // 3
        starts = list(range(top, bottom - 1, -1)) if depth > 1 else [0]
        cuts = [(f"layers {start} to {depth - 1}", _thawed_from(start), 1 / len(starts)) for start in starts]
    return _shared_out(whole, cuts)


def check_phases(phases: Sequence[Phase], parts: Sequence[Part]) -> None:
    """Raise UsageError for a phase that trains nothing, or a head that no phase trains."""
    for phase in phases:
        if not phase.freeze.everything and all(phase.freeze.holds(part) for part in parts):
            raise UsageError(f"training.phases: phase '{phase.name}' trains nothing; leave something out of its freeze")
    for part in parts:
        if part.place == "head" and all(phase.freeze.holds(part) for phase in phases):
            raise UsageError(
                f"training.phases: no phase trains the head of '{part.tasks[0]}'; leave it out of one phase's freeze "
                f"(heads: {', '.join(p.tasks[0] for p in parts if p.place == 'head')})"
            )


def enter(phase: Phase, model: MultiTaskModel, parts: Sequence[Part]) -> None:
    """Set gradients and modes: everything that is not frozen trains."""
    model.train()
    for part in parts:
        frozen = phase.freeze.holds(part)
        for parameter in part.parameters:
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None
        if frozen:
            for module in part.modules:
                module.eval()


def plan_lines(phases: Sequence[Phase], parts: Sequence[Part], depth: int) -> list[str]:
    """A table: phase, steps, trainable parameters, and the rate of every part that trains (equal neighbours together)."""
    rows = [("phase", "steps", "trained", "learning rates at their highest")]
    for phase in phases:
        on = [part for part in parts if not phase.freeze.holds(part)]
        rates = [(part.name, phase.rates.of(part, depth)) for part in on]
        rows.append((phase.name, f"{phase.steps:,}", f"{sum(part.size for part in on):,}", _runs(rates)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]


def _runs(rates: Sequence[tuple[str, float]]) -> str:
    shown: list[tuple[str, str, float]] = []
    for name, rate in rates:
        if shown and shown[-1][2] == rate:
            shown[-1] = (shown[-1][0], name, rate)
        else:
            shown.append((name, name, rate))
    return ", ".join(f"{first if first == last else f'{first} .. {last}'} {rate:.2g}" for first, last, rate in shown)


def _thawed_from(start: int) -> Freeze:
    return Freeze.below(start)


def _shared_out(whole: Phase, cuts: Sequence[tuple[str, Freeze, float]]) -> list[Phase]:
    """Phases whose steps add up exactly; the last one of a gradual plan runs at a smaller rate."""
    ends = [round(whole.steps * sum(share for _, _, share in cuts[: i + 1])) for i in range(len(cuts))]
    phases = []
    for (name, freeze, _), start, end in zip(cuts, [0, *ends], ends, strict=False):
        if end <= start:
            continue
        warmup = round(whole.warmup * (end - start) / whole.steps)
        rates = whole.rates
        if name.endswith("small rate"):
            rates = replace(rates, base=rates.base * SMALL_RATE, head=rates.head * SMALL_RATE)
        phases.append(replace(whole, name=name, steps=end - start, freeze=freeze, warmup=warmup, rates=rates))
    return phases
