"""Settings to the phases of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from manyheads.errors import UsageError
from manyheads.training.phases import Freeze, Phase, Rates, check_phases, named_phases

if TYPE_CHECKING:
    from manyheads.config import strategies
    from manyheads.config.files import RunFile
    from manyheads.config.schema import Training
    from manyheads.training.parts import Part

EPOCHS = 3.0
"""Default if neither epochs nor steps are given."""


def build_phases(file: RunFile, parts: Sequence[Part], depth: int, steps_an_epoch: float) -> list[Phase]:
    """The phases of a run; a single one without `training.phases`. Raises UsageError if a phase trains nothing."""
    training = file.run.training
    factors = {name: section.learning_rate_factor for name, section in file.run.tasks.items()}
    tasks = list(file.run.tasks)
    if isinstance(training.phases, list):
        phases = [
            _phase(section, i, training, depth, steps_an_epoch, factors, tasks)
            for i, section in enumerate(training.phases)
        ]
    else:
        steps = training.steps or max(1, math.ceil((training.epochs or EPOCHS) * steps_an_epoch))
        freeze = _freeze(training.freeze, "training.freeze", depth, tasks)
        whole = Phase(
            "all", 0 if freeze.everything else steps, _rates(training, factors), freeze, training.schedule,
            round(training.warmup * steps), training.patience,
        )  # fmt: skip
        phases = named_phases(training.phases, whole, depth, steps_an_epoch) if training.phases else [whole]
    if any(phase.steps for phase in phases):  # `freeze: all` means no training
        check_phases(phases, parts, "training.phases" if training.phases else "training.freeze")
    return phases


def duration_key(training: Training) -> str:
    """The key below `training` that the number of steps follows from."""
    if isinstance(training.phases, list):
        return "phases"
    return "steps" if training.steps else "epochs"


def _phase(
    section: strategies.PhaseSection, index: int, training: Training, depth: int, steps_an_epoch: float,
    factors: dict[str, float], tasks: list[str],
) -> Phase:  # fmt: skip
    where = f"training.phases.{index}"
    steps = section.steps or max(1, math.ceil((section.epochs or 1) * steps_an_epoch))
    rates = _rates(training, factors)
    base = section.learning_rate or rates.base
    head = (
        section.head_learning_rate
        or (section.learning_rate if training.head_learning_rate is None else None)
        or rates.head
    )
    warmup = training.warmup if section.warmup is None else section.warmup
    return Phase(
        name=section.name or f"phase {index + 1}",
        steps=steps,
        rates=Rates(base, head, section.layer_decay or rates.decay, factors),
        freeze=_freeze(section.freeze, f"{where}.freeze", depth, tasks),
        curve=section.schedule or training.schedule,
        warmup=round(warmup * steps),
        patience=section.patience or training.patience,
    )


def _rates(training: Training, factors: dict[str, float]) -> Rates:
    return Rates(
        training.learning_rate, training.head_learning_rate or training.learning_rate, training.layer_decay, factors
    )


def _freeze(section: strategies.Freeze, where: str, depth: int, tasks: list[str]) -> Freeze:
    """Frozen parts. Raises UsageError for layers that do not exist and unknown heads."""
    layers = set(range(section.layers)) if isinstance(section.layers, int) else set(section.layers)
    if layers and max(layers) >= depth:
        raise UsageError(f"{where}.layers includes layer {max(layers)}, but the encoder has layers 0 to {depth - 1}")
    unknown = [name for name in section.heads if name not in tasks]
    if unknown:
        raise UsageError(f"{where}.heads: there is no task '{unknown[0]}'; the tasks are {', '.join(tasks)}")
    below = isinstance(section.layers, int) and section.layers > 0
    embeddings = below if section.embeddings is None else section.embeddings
    return Freeze(section.all, section.encoder, embeddings, frozenset(layers), frozenset(section.heads))
