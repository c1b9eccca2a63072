"""Phases of a run: their length, what is frozen, and learning rates; and predefined sequences of phases.

A frozen part runs in evaluation mode (no dropout) and its weights do not change by a bit. Freezing the bottom layers
freezes the embeddings too, or their backward pass would not be saved. The base weights under LoRA are not frozen in this
sense: they keep their dropout, as in peft.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from manyheads.errors import UsageError
from manyheads.model import MultiTaskModel
from manyheads.training.parts import Part, places_of

Curve = Literal["linear", "cosine", "constant"]
SMALL_RATE = 0.4
"""Factor on the rate once everything is unfrozen: the heads are trained by then."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """What a phase does not train."""

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
    """For single tasks, on every part of one task alone."""

    def of(self, part: Part, depth: int) -> float:
        """The rate of a part at the peak of the schedule."""
        rate = self.head if part.place == "head" else self.base * self.decay ** (depth - 1 - part.layer)
        return rate * (self.factors.get(part.tasks[0], 1.0) if len(part.tasks) == 1 else 1.0)


@dataclass(frozen=True, slots=True)
class Phase:
    """A range of steps with its own frozen parts, learning rates and schedule."""

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
        """Factor on the rates at a step of the phase, from 0: linear over `warmup`, then along the curve to 0 (or constant).

        >>> phase = Phase("all", 10, Rates(base=1e-4, head=1e-3), warmup=2)
        >>> [phase.factor(step) for step in (0, 1, 2, 6)]
        [0.5, 1.0, 1.0, 0.5]
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.curve == "constant":
            return 1.0
        return max(0.0, 1 - done) if self.curve == "linear" else 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True, slots=True)
class _Cut:
    """A phase of a predefined sequence: its share of the steps, and the factor on its rates."""

    name: str
    freeze: Freeze
    share: float
    factor: float = 1.0


def _layers_above(start: int, depth: int, share: float) -> _Cut:
    return _Cut(f"layers {start} to {depth - 1}", Freeze.below(start), share)


def _heads_then_all(depth: int, epoch_share: float) -> list[_Cut]:
    """Heads alone for a fifth of the run, then everything (LP-FT, Kumar et al. 2022)."""
    return [_Cut("heads", Freeze(encoder=True), 0.2), _Cut("all", Freeze(), 0.8)]


def _gradual(depth: int, epoch_share: float) -> list[_Cut]:
    """Heads alone for two epochs (at most 30 % of the run), then three more layers at a time from the top, then everything
    at 0.4 of the rate (gradual unfreezing, Howard & Ruder 2018).
    """
    first = min(0.3, 2 * epoch_share)
    starts = [max(0, depth - 3 * i) for i in range(1, math.ceil(depth / 3) + 1)]
    share = (1 - first) / (len(starts) + 1)
    layers = [_layers_above(start, depth, share) for start in starts]
    return [_Cut("heads", Freeze(encoder=True), first), *layers, _Cut("all, small rate", Freeze(), share, SMALL_RATE)]


def _thirds(depth: int, epoch_share: float) -> list[_Cut]:
    """The bottom third is never trained, the top third always; the layers between are unfrozen one by one from the top."""
    bottom, top = depth // 3, depth - max(1, depth // 3)
    starts = range(top, bottom - 1, -1)
    return [_layers_above(start, depth, 1 / len(starts)) for start in starts]


NAMED_PHASES = {"heads-then-all": _heads_then_all, "gradual": _gradual, "thirds": _thirds}
"""Predefined sequences of phases, as functions of the encoder's depth and of an epoch's share of the run."""


def named_phases(name: str, whole: Phase, depth: int, steps_per_epoch: float) -> list[Phase]:
    """A predefined sequence of phases, together as long as `whole`, with its rates, curve and warmup."""
    return _divided(whole, NAMED_PHASES[name](depth, steps_per_epoch / whole.steps))


def check_phases(phases: Sequence[Phase], parts: Sequence[Part], where: str = "training.phases") -> None:
    """Raise UsageError for a phase that trains nothing, or a head that no phase trains. `where`: the key in the run file."""
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
    """Set `requires_grad` and training mode: everything that is not frozen trains."""
    for part in parts:
        for parameter in part.parameters:
            parameter.requires_grad_(not phase.freeze.holds(part))
    model.train()
    for part in places_of(model):  # not `parts`, which leave out modules without trainable parameters under adapters
        if phase.freeze.holds(part):
            for module in part.modules:
                module.eval()


def plan_lines(phases: Sequence[Phase], parts: Sequence[Part], depth: int) -> list[str]:
    """A table: phase, steps, trainable parameters, and the rates of the parts that train (equal neighbours together)."""
    rows = [("phase", "steps", "trained", "learning rates at their highest")]
    for phase in phases:
        trained = sum(part.size for part in parts if not phase.freeze.holds(part))
        rates = [(p.name, 0.0 if phase.freeze.holds(p) else phase.rates.of(p, depth)) for p in parts]
        rows.append((phase.name, f"{phase.steps:,}", f"{trained:,}", _runs(rates)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]


def _runs(rates: Sequence[tuple[str, float]]) -> str:
    """Rates, with neighbours of the same rate merged. Frozen parts, at 0, are left out and separate their neighbours."""
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


def _divided(whole: Phase, cuts: Sequence[_Cut]) -> list[Phase]:
    """Phases whose steps add up exactly; those without a step are left out."""
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
