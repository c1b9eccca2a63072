"""The recipe: ordinary settings from the facts of the data and the encoder, for whatever the run file does not say.

Decided here: a short pure function, printed with its reasons by `manyheads validate`, and every key of it can be overridden.
Those of heads, steps and epochs come from held-out training rows (docs/decisions.md). ANCHOR is a pilot's, whose weight was
picked on test scores: it is to be chosen anew on validation rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manyheads.config.schema import Training
from manyheads.config.strategies import Balancing
from manyheads.training.optim import shared_rate_factor

ROWS_PER_STEP = 16
"""Of each task. Small steps: a hundred rows are then some hundred steps."""
CONTRASTED_ROWS = 32
"""Where the rows of a step are compared with one another."""
STEP_TOKENS = (128, 4096)
EPOCHS = (3.0, 15.0)
"""For much data and for little."""
FEW_ROWS = 300
"""Up to here the most epochs; beyond they fall with the square root of the rows."""
RATE = 1.0e-4
HEAD_RATE = 5.0e-4
RATE_WIDTH = 384
"""The width of encoder that takes RATE. BERT-base, twice as wide, takes 5e-5, large ones 3.75e-5 (Devlin et al. 2019)."""
ANCHOR = 0.2
ADAPTED = 5.0
"""Factor on the rate of low-rank adapters, whose updates are small. Hu et al. 2022."""
REFIT_ROWS = 800
"""With fewer rows, those set aside for validation are worth training on once everything is chosen."""
EVALUATIONS = 5
"""In a run, where an epoch is longer than a fifth of it."""


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What the recipe knows of one task's training data."""

    name: str
    rows: int
    tokens: int
    """Of all rows together."""
    compares: bool = False
    """Whether the loss compares the rows of a step."""
    plain: bool = False
    """Whether its head has no weights: then the untrained encoder may be good at it already."""
    set_aside: bool = False
    """Whether its validation rows were cut from its training rows."""

    @property
    def length(self) -> float:
        """Mean tokens of a row."""
        return self.tokens / max(1, self.rows)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the recipe knows of a run."""

    tasks: tuple[TaskFacts, ...]
    width: int
    """Of the encoder."""
    shared: bool = True
    """Whether the tasks train any part of the encoder together."""
    adapters: bool = False
    """Whether low-rank adapters are trained in place of the encoder's own weights."""
    fast_bf16: bool = False
    """Whether the device is a CPU that multiplies bf16 in tiles (AMX)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of `training`, and why each is what it is."""

    values: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def completed(self, training: Training) -> Training:
        """The settings of a run file with those of the recipe where it says nothing."""
        return training.model_copy(update=self._used(training))

    def lines(self, training: Training) -> list[str]:
        """What the recipe settled, and why."""
        return [f"{key}: {_shown(value)} ({self.reasons[key]})" for key, value in self._used(training).items()]

    def _used(self, training: Training) -> dict[str, Any]:
        given = training.model_fields_set
        durations = {"epochs", "steps"} if given & {"epochs", "steps"} or isinstance(training.phases, list) else set()
        heads = {"head_learning_rate"} if "learning_rate" in given else set()
        return {key: value for key, value in self.values.items() if key not in given | durations | heads}


def recipe_of(facts: Facts) -> Recipe:
    """Settings for a run.

    >>> facts = Facts((TaskFacts("section", rows=300, tokens=7500),), width=384)
    >>> recipe_of(facts).values["epochs"], recipe_of(facts).values["tokens_per_step"]
    (15.0, 400)
    """
    tasks, several = facts.tasks, facts.shared and len(facts.tasks) > 1
    rows = sum(task.rows for task in tasks)
    tokens = max(1, sum(task.tokens for task in tasks))
    epochs = sum(epochs_for(task.rows) * task.tokens for task in tasks) / tokens
    per_step = math.ceil(sum(rows_per_step(task) * task.length for task in tasks))
    rate = RATE * RATE_WIDTH / facts.width * (ADAPTED if facts.adapters else 1.0)
    rate *= shared_rate_factor(len(tasks)) if several else 1.0
    values: dict[str, Any] = {
        "epochs": round(epochs, 1),
        "tokens_per_step": min(max(per_step, STEP_TOKENS[0]), STEP_TOKENS[1]),
        "learning_rate": float(f"{rate:.3g}"),
        "head_learning_rate": HEAD_RATE,
        "warmup": 0.1,
        "fit_heads": True,
    }
    reasons = {
        "epochs": f"{rows:,} rows: {EPOCHS[1]:.0f} up to {FEW_ROWS} rows, fewer with more, at least {EPOCHS[0]:.0f}",
        "tokens_per_step": f"about {ROWS_PER_STEP} rows{' of each task' if several else ''}, {tokens / max(1, rows):.0f} "
                           "tokens each on average",
        "learning_rate": f"for an encoder of width {facts.width}"
                         f"{f' and the square root of {len(tasks)} tasks' if several else ''}",
        "head_learning_rate": "heads are new",
        "warmup": "of the steps",
        "fit_heads": "heads are solved on the frozen encoder first",
    }  # fmt: skip
    if facts.fast_bf16:
        values["precision"] = "bf16"
        reasons["precision"] = "this processor multiplies it in tiles"
    if several:
        values["balancing"] = Balancing(method="equal-norm")
        reasons["balancing"] = "all tasks pull the shared encoder equally"
        plain = [task.name for task in tasks if task.plain]
        if plain and len(plain) < len(tasks):
            values["anchor"] = ANCHOR
            reasons["anchor"] = f"the other tasks would undo what the encoder knows of {', '.join(plain)}"
    if any(task.set_aside and task.rows < REFIT_ROWS for task in tasks):
        values["refit"] = True
        reasons["refit"] = f"fewer than {REFIT_ROWS:,} rows: those set aside for validation are trained on at the end"
    return Recipe(values, reasons)


def epochs_for(rows: int) -> float:
    """Passes over the data of a task."""
    least, most = EPOCHS
    return min(most, max(least, most * math.sqrt(FEW_ROWS / max(1, rows))))


def rows_per_step(task: TaskFacts) -> int:
    """About how many rows of a task are in a step."""
    return CONTRASTED_ROWS if task.compares else ROWS_PER_STEP


def evaluate_every(steps: int, steps_an_epoch: int) -> int:
    """Once an epoch, but about `EVALUATIONS` times in a run at most, and twice at least."""
    wanted = max(steps_an_epoch, math.ceil(steps / EVALUATIONS))
    return max(1, min(wanted, steps // 2))


def _shown(value: Any) -> str:
    if isinstance(value, Balancing):
        return value.method
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else f"{value:,}"
