"""The recipe: training settings derived from the size of the data and the encoder, where the run file sets none.

Decided here: a pure function whose result `manyheads validate` prints with reasons; every setting can be overridden.
The settings of heads, steps and epochs were chosen on held-out training rows (docs/decisions.md). ANCHOR is from a pilot that
chose it on test scores, without `first_tasks`; with them 0.2 and 1.0 were compared on validation rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manyheads.config.schema import Training
from manyheads.config.strategies import Balancing
from manyheads.training.optim import shared_rate_factor

ROWS_PER_STEP = 16
"""Rows of each task. Steps are small so that a hundred rows still give about a hundred steps."""
CONTRASTED_ROWS = 32
"""Rows of a task whose loss compares the rows of a step."""
STEP_TOKENS = (128, 4096)
EPOCHS = (3.0, 15.0)
"""For large and for small data."""
FEW_ROWS = 300
"""Up to this many rows, the most epochs; beyond, they fall with the square root of the rows."""
RATE = 1.0e-4
HEAD_RATE = 5.0e-4
RATE_WIDTH = 384
"""Encoder width at which RATE applies. BERT-base, twice as wide, takes 5e-5, large ones 3.75e-5 (Devlin et al. 2019)."""
HELD_FACTOR = 0.5
"""Factor on the rate where the answers of the model that a run starts from hold tasks, in place of that for several tasks:
its encoder is trained already. After training on WNUT-17, CoNLL-2003 had lost 5.8 points of F1 at 1.41e-4 and 1.8 at 5e-5,
SST-2 1.5 and 0.7; WNUT-17 had gained 2.3 and 2.7."""
ANCHOR = 0.2
FIRST_SHARE = 0.25
"""Most tokens of the first tasks' own training, as a share of the run's. Where it needs more, the recipe leaves it out: in
short runs the anchor costs the other tasks more than similarity gains (answers of the demonstration 60.9 for 70.4)."""
LEAST_EPOCHS_LEFT = 0.9
"""The first tasks' own training is taken off the epochs of the run, but of small data, which needs them, only so far."""
PARTIAL_FACTOR = 4.0
"""Highest factor on the rate where only some layers are trained: they move less, so each may move further."""
LORA_FACTOR = 5.0
"""Factor on the learning rate of low-rank adapters, whose updates are small. Hu et al. 2022."""
REFIT_ROWS = 800
"""With fewer rows, a final training that includes the validation rows pays off."""
EVALUATIONS = 5
"""Evaluations of a run whose epochs are longer than a fifth of it."""


@dataclass(frozen=True, slots=True)
class TaskSize:
    """Size and kind of one task's training data."""

    name: str
    rows: int
    tokens: int
    """Total over all rows."""
    compares: bool = False
    """Whether the loss compares the rows of a step with one another."""
    plain: bool = False
    """Whether the head has no weights: the untrained encoder may then already be good at the task."""
    set_aside: bool = False
    """Whether the validation rows were split off from the training rows."""
    held: bool = False
    """Whether the answers of the model that it starts from hold it."""
    kept: bool = False
    """Whether they are all it is trained on."""

    @property
    def length(self) -> float:
        """Mean tokens of a row."""
        return self.tokens / max(1, self.rows)


@dataclass(frozen=True, slots=True)
class Duration:
    """The length of a run, as far as the run file sets it."""

    epoch_tokens: float | None = None
    """Tokens of the given epochs."""
    steps: int | None = None
    tokens_per_step: int | None = None

    def tokens(self, per_step: int, otherwise: float) -> float:
        """Tokens of the run. `per_step`, `otherwise`: what the recipe would choose for a step and for the run."""
        return self.steps * (self.tokens_per_step or per_step) if self.steps else self.epoch_tokens or otherwise


@dataclass(frozen=True, slots=True)
class RecipeInputs:
    """Everything the recipe depends on."""

    tasks: tuple[TaskSize, ...]
    width: int
    """Width of the encoder."""
    shared: bool = True
    """Whether the tasks train any part of the encoder together."""
    adapters: bool = False
    """Whether low-rank adapters are trained in place of the encoder's own weights."""
    trained_layers: float = 1.0
    """Share of the encoder's layers that are trained; 0 if only heads are."""
    fast_bf16: bool = False
    """Whether the device is a CPU that multiplies bf16 in tiles (AMX)."""
    given: Duration | None = Duration()
    """What the run file says about the length of the run; None where no task may train the encoder first."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of `training`, and the reason for each."""

    settings: Mapping[str, tuple[Any, str]]

    @property
    def values(self) -> dict[str, Any]:
        """The settings without reasons."""
        return {key: value for key, (value, _) in self.settings.items()}

    def completed(self, training: Training) -> Training:
        """The settings of a run file, completed by those of the recipe."""
        return training.model_copy(update=self._used(training))

    def lines(self, training: Training) -> list[str]:
        """A line on each setting that the recipe decides, with its reason."""
        return [f"{key}: {_shown(value)} ({self.settings[key][1]})" for key, value in self._used(training).items()]

    def _used(self, training: Training) -> dict[str, Any]:
        given = training.model_fields_set
        durations = {"epochs", "steps"} if given & {"epochs", "steps"} or isinstance(training.phases, list) else set()
        heads = {"head_learning_rate"} if "learning_rate" in given else set()
        return {key: value for key, value in self.values.items() if key not in given | durations | heads}


def recipe_of(inputs: RecipeInputs) -> Recipe:
    """The recipe of a run.

    >>> inputs = RecipeInputs((TaskSize("section", rows=300, tokens=7500),), width=384)
    >>> recipe_of(inputs).values["epochs"], recipe_of(inputs).values["tokens_per_step"]
    (15.0, 400)
    """
    tasks = inputs.tasks
    learning = [task for task in tasks if not task.kept] or list(tasks)
    several = inputs.shared and len(learning) > 1
    rows = sum(task.rows for task in learning)
    tokens = max(1, sum(task.tokens for task in learning))
    epochs = sum(epochs_for(task.rows) * task.tokens for task in learning) / tokens
    per_step = math.ceil(sum(rows_per_step(task) * task.length for task in tasks))
    per_step = min(max(per_step, STEP_TOKENS[0]), STEP_TOKENS[1])
    rate = RATE * RATE_WIDTH / inputs.width * (LORA_FACTOR if inputs.adapters else 1.0)
    held = any(task.held for task in tasks)
    partly = 0 < inputs.trained_layers < 1 and not held
    factor = shared_rate_factor(len(learning)) if several else 1.0
    rate *= HELD_FACTOR if held else min(PARTIAL_FACTOR, factor * partial_factor(inputs.trained_layers))
    average = tokens / max(1, rows)
    plain = [task for task in tasks if task.plain] if several and not all(task.plain for task in tasks) else []
    alone = 0.0
    if plain and inputs.given is not None and not held:
        alone = first_epochs(plain, inputs.given.tokens(per_step, epochs * tokens))
        alone = alone if alone == first_epochs(plain, math.inf) else 0.0
        epochs = max(epochs - alone * sum(task.tokens for task in plain) / tokens, LEAST_EPOCHS_LEFT * epochs)
    settings: dict[str, tuple[Any, str]] = {
        "epochs": (
            round(epochs, 1),
            f"{rows:,} rows: {EPOCHS[1]:.0f} up to {FEW_ROWS} rows, fewer with more, at least {EPOCHS[0]:.0f}",
        ),
        "tokens_per_step": (
            per_step,
            f"about {ROWS_PER_STEP} rows{' of each task' if several else ''}, {average:.0f} tokens each on average",
        ),
        "learning_rate": (
            float(f"{rate:.3g}"),
            f"for an encoder of width {inputs.width}"
            + (" that is trained already" if held else f" and the square root of {len(learning)} tasks" if several else "")
            + (f", with {inputs.trained_layers:.0%} of the layers trained" if partly else ""),
        ),
        "head_learning_rate": (HEAD_RATE, "heads are untrained"),
        "warmup": (0.1, "fraction of the steps"),
        "fit_heads": (True, "fit heads to the frozen encoder first, and last where a head has no weights"),
    }
    if inputs.fast_bf16:
        settings["precision"] = "bf16", "this CPU has bf16 matrix units (AMX)"
    if several:
        # At first a held task pulls with noise alone, which equal norms would inflate.
        settings["balancing"] = (Balancing(), "a held task pulls only as far as it has moved") if held else (
            Balancing(method="equal-norm"), "all tasks pull the shared encoder equally")  # fmt: skip
    names = ", ".join(task.name for task in plain)
    if alone:
        reason = f"alone for {alone:.1f} epochs, before other tasks move the encoder"
        settings["first_tasks"] = [task.name for task in plain], reason
        settings["anchor"] = ANCHOR, f"keeps what the encoder has learned about {names}"
    elif plain:
        settings["anchor"] = ANCHOR, f"keeps what the encoder already knows about {names}"
    if any(task.set_aside and task.rows < REFIT_ROWS for task in tasks):
        settings["refit"] = True, f"fewer than {REFIT_ROWS:,} rows: validation rows are included in a final training"
    return Recipe(settings)


def partial_factor(trained_layers: float) -> float:
    """Factor on the learning rate where a share of the encoder's layers is trained.

    >>> partial_factor(1 / 6), partial_factor(0.5), partial_factor(1.0)
    (4.0, 2.0, 1.0)
    """
    return min(PARTIAL_FACTOR, 1 / trained_layers) if trained_layers else 1.0


def epochs_for(rows: int) -> float:
    """Epochs for a task of this size."""
    least, most = EPOCHS
    return min(most, max(least, most * math.sqrt(FEW_ROWS / max(1, rows))))


def first_epochs(tasks: Sequence[TaskSize], run_tokens: float) -> float:
    """Epochs of tasks that train the encoder alone before a run of so many tokens: as many as without other tasks.

    Bounded by `FIRST_SHARE`.

    >>> pairs = [TaskSize("similarity", rows=5000, tokens=150_000, plain=True)]
    >>> [round(first_epochs(pairs, tokens), 1) for tokens in (4e6, 1e6, 3e5)]
    [3.7, 1.7, 0.5]
    """
    tokens = max(1, sum(task.tokens for task in tasks))
    epochs = sum(epochs_for(task.rows) * task.tokens for task in tasks) / tokens
    return min(epochs, FIRST_SHARE * run_tokens / tokens)


def rows_per_step(task: TaskSize) -> int:
    """Approximate rows of a task in a step."""
    return CONTRASTED_ROWS if task.compares else ROWS_PER_STEP


def evaluate_every(steps: int, steps_an_epoch: int) -> int:
    """Steps between evaluations: an epoch, but at most about `EVALUATIONS` and at least 2 evaluations per run."""
    wanted = max(steps_an_epoch, math.ceil(steps / EVALUATIONS))
    return max(1, min(wanted, steps // 2))


def _shown(value: Any) -> str:
    if isinstance(value, Balancing):
        return value.method
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else f"{value:,}"
