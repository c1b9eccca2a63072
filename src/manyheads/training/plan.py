"""A run as finished parts, and its result: what `config/build.py` makes and what `run.py` leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.training.trackers.base import Tracking

if TYPE_CHECKING:
    from manyheads.bundle import UnmergedAdapters
    from manyheads.evaluate import Answered, Metrics
    from manyheads.model import MultiTaskModel
    from manyheads.predict import Predictor
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.adapters import Adapters
    from manyheads.training.identity import Identity
    from manyheads.training.loop import Trainer
    from manyheads.training.phases import Phase
    from manyheads.training.selection import Selection

    Tables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run needs, built and checked."""

    encoder_name: str
    base_model: str | None
    """Hub id of what the encoder comes from; None for a local folder."""
    max_length: int
    model: MultiTaskModel
    tokenizer: Tokenizer
    tasks: Mapping[str, Task[Any]]
    trainer: Trainer
    phases: Sequence[Phase]
    validation: Tables
    test: Tables
    evaluate_every: int
    """Steps."""
    selection: Selection
    patience: Mapping[str, int]
    """Evaluations, of single tasks."""
    adapters: Adapters | None
    output: Path
    run: str
    """The run file, as the model folder will hold it."""
    identity: Identity
    save_every: int
    """Steps; 0: only when the run is asked to stop, and after the last step."""
    keep_checkpoints: int
    continued: tuple[str, ...] = ()
    """Tasks whose heads start from a trained model, and are not solved on the frozen encoder again."""
    started_from: Mapping[str, Any] | None = None
    """The hash of that model, and what became of the labels of its tasks."""
    fit_heads: bool = False
    """Whether heads are solved on the frozen encoder before the first step."""
    final_layers: Mapping[str, float] | None = None
    """Penalties of the layers that are fitted last, by task, empty for none; None: chosen by validation data."""
    average: float = 0.0
    """Share of the steps, at the end, whose weights are averaged into one more candidate."""
    until: int | None = None
    """The step after which the run ends, however long its schedule is."""
    first: Callable[[], Plan] | None = None
    """Makes the training of `training.first_tasks` alone, from whose encoder all tasks start."""
    refit: Callable[[float], Plan] | None = None
    """Makes the same run on all rows, validation rows included, up to a share of its steps."""
    epochs: float = 0.0
    """Passes over all training tokens."""
    recipe: tuple[str, ...] = ()
    """The settings that the recipe chose, and why."""
    teachers: tuple[str, ...] = ()
    """The teacher of each task, and its number of rows."""
    notes: tuple[str, ...] = ()
    tracking: Tracking = field(default_factory=Tracking)
    rows: Callable[[], Mapping[str, Mapping[str, Mapping[str, int]]]] = dict
    """Counts of the data, by task and split: read, used, windowed, skipped. Slow at the first call, made at the end."""

    @property
    def steps(self) -> int:
        """Of all phases, if none ends early."""
        steps = sum(phase.steps for phase in self.phases)
        return steps if self.until is None else min(steps, self.until)


@dataclass(frozen=True, slots=True)
class Trained:
    """A run whose steps are done; the model in its plan has the best weights."""

    tasks: Mapping[str, Task[Any]]
    """With everything that is tuned on validation data."""
    validation: Mapping[str, Metrics]
    answered: Mapping[str, Answered]
    """Answers to the validation data, and its examples."""
    predictor: Predictor
    """Raises StoppedError when the run is asked to stop: all training is saved by then."""
    steps: int
    """The step that the weights come from."""
    adapters: UnmergedAdapters | None
    """Weights that are saved beside the base weights."""
    averaged: bool = False
    """Whether the weights are the mean of those of the last steps."""
    refitted: bool = False
    """Whether it was trained on validation rows as well; its scores are then those of the run without them."""
    final_layers: Mapping[str, float] = field(default_factory=dict)
    """Penalties of the layers that were fitted last, by task."""
