"""The best single-task models: what you would train if you had only this task.

Decided here:
- The run file is the shared one with one task (`jobs/single_task.py`). Where the recipe settles a setting differently for
  one task, it does.
- The shared run's `steps` become as many passes over the task's examples as those steps make.
- The learning rate is half, once or twice the default, whichever has the best validation score with the first seed. The
  other seeds use the same rate: it is a setting, and choosing it again for each seed would reward luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from manyheads.jobs.job import Job

if TYPE_CHECKING:
    from manyheads.compare.outcome import Outcome
    from manyheads.compare.runner import Runner
    from manyheads.config.schema import Training
    from manyheads.jobs.experiment import Experiment
    from manyheads.jobs.single_task import TrainingSettings, Value
    from manyheads.training.plan import Plan

FACTORS = (1.0, 0.5, 2.0)
"""Multiples of the default learning rate; the first wins a tie."""
LEAST_TOKENS_PER_STEP = 32


@dataclass(frozen=True, slots=True)
class Candidate:
    """One learning rate to try."""

    factor: float
    learning_rate: float
    job: Job
    validation: float | None = None
    """The best validation score of its run; None without validation data."""

    def to_json(self) -> dict[str, Any]:
        """An entry of `tried` in compare.json."""
        return {"factor": self.factor, "learning_rate": self.learning_rate, "validation": self.validation}


@dataclass(frozen=True, slots=True)
class SingleModel:
    """The single-task models of one task, one for each seed."""

    settings: TrainingSettings
    """Settings of `training` that differ from the shared run's."""
    tried: tuple[Candidate, ...]
    chosen: Candidate
    runs: tuple[Outcome, ...]

    def to_json(self) -> dict[str, Any]:
        """The key `own` of a task in compare.json."""
        return {"learning_rate": self.chosen.learning_rate, "factor": self.chosen.factor,
                "tried": [candidate.to_json() for candidate in self.tried],
                "settings": dict(self.settings)}  # fmt: skip


def train_single_models(runner: Runner, seeds: Sequence[int]) -> dict[str, SingleModel]:
    """The single-task models of all tasks, trained where missing. Raises StoppedError, TrainingError."""
    candidates = _candidates(runner.experiment, seeds[0])
    first = runner.outcomes([one.job for tried in candidates.values() for one in tried])
    candidates = {
        name: [replace(one, validation=validation_score(first[one.job], name)) for one in tried]
        for name, tried in candidates.items()
    }
    chosen = {name: best_candidate(tried) for name, tried in candidates.items()}
    others = {name: [replace(one.job, seed=seed) for seed in seeds[1:]] for name, one in chosen.items()}
    rest = runner.outcomes([job for jobs in others.values() for job in jobs])
    return {
        name: SingleModel(one.job.single or (), tuple(candidates[name]), one,
                          (first[one.job], *(rest[job] for job in others[name])))
        for name, one in chosen.items()
    }  # fmt: skip


def training_lengths(shared: Plan, training: Training) -> dict[str, dict[str, Value]]:
    """`training_length` of each task for its part of the shared run."""
    sampler, steps, found = shared.trainer.batcher.sampler, max(1, shared.steps), {}
    for feed in shared.trainer.batcher.feeds:
        tokens = sampler.quota(feed.task.name, steps)
        found[feed.task.name] = training_length(training, epochs=tokens / max(1, feed.stream.tokens_per_epoch),
                                                tokens_per_step=tokens / steps)  # fmt: skip
    return found


def training_length(training: Training, *, epochs: float, tokens_per_step: float) -> dict[str, Value]:
    """Keys of `training` for one task that replace those the run file gives for all tasks together; None removes one.

    `epochs` and `tokens_per_step` are the task's part of the shared run.
    """
    given = training.model_fields_set
    by_hand = training.recipe == "none" or isinstance(training.phases, list)
    found: dict[str, Value] = {}
    if "steps" in given:
        found["epochs"] = round(epochs, 4)
    if "tokens_per_step" in given:
        found["tokens_per_step"] = max(LEAST_TOKENS_PER_STEP, round(tokens_per_step)) if by_hand else None
    if "evaluate_every" in given and not by_hand:
        found["evaluate_every"] = None
    return found


def scaled_rate(settings: Mapping[str, Value], rate: float, head_rate: float, factor: float) -> TrainingSettings:
    """Settings with the encoder's learning rate multiplied; heads, which are new, keep the default.

    >>> scaled_rate({"epochs": 2.0}, 1e-4, 5e-4, 0.5)
    (('epochs', 2.0), ('learning_rate', 5e-05), ('head_learning_rate', 0.0005))
    """
    if factor == 1.0:
        return tuple(settings.items())
    return tuple({**settings, "learning_rate": float(f"{rate * factor:.4g}"), "head_learning_rate": head_rate}.items())


def best_candidate(tried: Sequence[Candidate]) -> Candidate:
    """The candidate with the best validation score."""
    return max(tried, key=lambda one: float("-inf") if one.validation is None else one.validation)


def validation_score(outcome: Outcome, task: str) -> float | None:
    """The best score of a run; None without validation data."""
    return max((point["score"] for point in outcome.curves.get(task, [])), default=None)


def _candidates(experiment: Experiment, seed: int) -> dict[str, list[Candidate]]:
    """The rates to try for each task; only the default one if no validation data can choose."""
    training, found = experiment.run_file(Job(seed)).run.training, {}
    rates_by_phase = isinstance(training.phases, list) and any(one.learning_rate is not None for one in training.phases)
    for name, length in training_lengths(experiment.plan(Job(seed)), training).items():
        rates = experiment.plan(Job(seed, (name,), single=tuple(length.items()))).phases[0].rates
        choose = "validation" in experiment.dataset[name].splits and not rates_by_phase
        found[name] = [
            Candidate(factor, rates.base * factor,
                      Job(seed, (name,), single=scaled_rate(length, rates.base, rates.head, factor)))
            for factor in (FACTORS if choose else FACTORS[:1])
        ]  # fmt: skip
    return found
