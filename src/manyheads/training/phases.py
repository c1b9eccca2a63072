"""Phases of a run: how long, what is frozen, how fast each part learns; and ready-made plans of them.

A frozen part runs in evaluation mode (no dropout) and its weights do not change by a bit. Freezing the bottom layers
freezes the embeddings under them too, or their backward pass would not be spared. What adapters alone keep as it is
(the base under LoRA) is not frozen in this sense: it keeps its dropout, as in peft.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from manyheads.errors import UsageError
from manyheads.training.parts import places_of

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
        cuts = [_Cut("heads", Freeze(encoder=True), 0.2), _Cut("all", Freeze(), 0.8)]
    elif plan == "gradual":
        first = min(0.3, 2 * steps_an_epoch / whole.steps)
        starts = [max(0, depth - 3 * i) for i in range(1, math.ceil(depth / 3) + 1)]
        share = (1 - first) / (len(starts) + 1)
        cuts = [_Cut("heads", Freeze(encoder=True), first)]
        cuts += [_Cut(_layers(start, depth), Freeze.below(start), share) for start in starts]
        cuts += [_Cut("all, small rate", Freeze(), share, SMALL_RATE)]
    else:
        bottom, top = depth // 3, depth - max(1, depth // 3)
        starts = list(range(top, bottom - 1, -1))
        cuts = [_Cut(_layers(start, depth), Freeze.below(start), 1 / len(starts)) for start in starts]
    return _shared_out(whole, cuts)


def check_phases(phases: Sequence[Phase], parts: Sequence[Part], where: str = "training.phases") -> None:
    """Raise UsageError for a phase that trains nothing, or a head that no phase trains. `where`: the key to blame."""
    for phase in phases:
        if all(phase.freeze.holds(part) for part in parts):
            raise UsageError(f"{where}: phase '{phase.name}' trains nothing; leave something out of its freeze")
    for part in parts:
        if part.place == "head" and all(phase.freeze.holds(part) for phase in phases):
            raise UsageError(
                f"{where}: no phase trains the head of '{part.tasks[0]}'; leave it out of one phase's freeze "
                f"(heads: {', '.join(p.tasks[0] for p in parts if p.place == 'head')})"
            )


def enter(phase: Phase, model: MultiTaskModel, parts: Sequence[Part]) -> None:
    """Set gradients and modes: everything that is not frozen trains."""
    for part in parts:
        for parameter in part.parameters:
            parameter.requires_grad_(not phase.freeze.holds(part))
    model.train()
    for part in places_of(model):  # not `parts`: under adapters these leave out what has nothing to train
        if phase.freeze.holds(part):
            for module in part.modules:
                module.eval()


def plan_lines(phases: Sequence[Phase], parts: Sequence[Part], depth: int) -> list[str]:
    """A table: phase, steps, trainable parameters, and the rate of every part that trains (equal neighbours together)."""
    rows = [("phase", "steps", "trained", "learning rates at their highest")]
    for phase in phases:
        trained = sum(part.size for part in parts if not phase.freeze.holds(part))
        rates = [(p.name, 0.0 if phase.freeze.holds(p) else phase.rates.of(p, depth)) for p in parts]
        rows.append((phase.name, f"{phase.steps:,}", f"{trained:,}", _runs(rates)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]


def _runs(rates: Sequence[tuple[str, float]]) -> str:
    """Neighbours of one rate together; what is frozen, at 0, is left out and parts its neighbours."""
    shown: list[tuple[str, str, float]] = []
    for name, rate in rates:
        if shown and shown[-1][2] == rate:
            shown[-1] = (shown[-1][0], name, rate)
        else:
            shown.append((name, name, rate))
    return (
        ", ".join(
            f"{first if first == last else f'{first} .. {last}'} {rate:.2g}" for first, last, rate in shown if rate
        )
        or "none"
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    """One phase of a ready-made plan: its share of the steps, and the factor on its rates."""

    name: str
    freeze: Freeze
    share: float
    factor: float = 1.0


def _layers(start: int, depth: int) -> str:
    return f"layers {start} to {depth - 1}"


def _shared_out(whole: Phase, cuts: Sequence[_Cut]) -> list[Phase]:
    """Phases whose steps add up exactly. One that would have no step is left out."""
    ends = [round(whole.steps * sum(cut.share for cut in cuts[: i + 1])) for i in range(len(cuts))]
    phases = []
    for cut, start, end in zip(cuts, [0, *ends[:-1]], ends, strict=True):
        if end > start:
            warmup = round(whole.warmup * (end - start) / whole.steps)
            rates = replace(whole.rates, base=whole.rates.base * cut.factor, head=whole.rates.head * cut.factor)
            phases.append(
                replace(whole, name=cut.name, steps=end - start, freeze=cut.freeze, warmup=warmup, rates=rates)
            )
    return phases
