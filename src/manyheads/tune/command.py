"""`manyheads tune`: better settings than the recipe's, by trials scored on validation data.

Decided here: the first trial is the run file as it is, and it stays unless another one beats it by more than half a standard
error. Trials never see test data. The best settings are trained once more as `manyheads train` does, on all rows if the
recipe says so, and only that model is tested.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from manyheads.config.files import as_given, load_run
from manyheads.durable import remove_folder, replace_file
from manyheads.errors import StoppedError, TrainingError, UsageError
from manyheads.jobs.experiment import Experiment, check_holds_only, open_experiment
from manyheads.jobs.job import Job
from manyheads.jobs.scheduler import run_jobs
from manyheads.jobs.workers import WorkerSpec, open_workers
from manyheads.tune.result import MODEL, RUN, best_trial, note, run_text, sentence, trial_entry
from manyheads.tune.space import Defaults, Space, space_of
from manyheads.tune.study import JOURNAL, Study
from manyheads.tune.trials import TrialQueue

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop

RESULT, REPORT, LOCK = "tune.json", "report.html", ".lock"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options of the command."""

    run: Path
    output: Path
    trials: int = 20
    """In total, including those already in the folder."""
    timeout_s: float | None = None
    overrides: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """The settings to tune; empty: all that the run file leaves open."""
    workers: WorkerSpec = field(default_factory=WorkerSpec)


def tune(options: TuneOptions, progress: Progress, stop: Stop) -> dict[str, Any]:
    """Run the missing trials, train the best one, write the results, and return the content of `tune.json`.

    Raises UsageError for a run that cannot be tuned, StoppedError when asked to stop, and TrainingError; finished trials are
    kept.
    """
    experiment = open_experiment(options.run, options.overrides, options.output)
    space = open_space(experiment, options.keys)
    with _locked(options.output):
        seed = load_run(options.run, options.overrides).run.training.seed
        study = Study(options.output, space, seed=seed, identity=_identity(experiment, space, seed))
        for name, why in space.fixed.items():
            progress.say(f"{name} is not tuned: {why}")
        tuned = ", ".join(setting.name for setting in space.settings)
        progress.say(f"{options.trials} trials, compared by validation scores; each may end early if it falls behind. "
                     f"Tuned: {tuned}")  # fmt: skip
        queue = TrialQueue(experiment, study, progress, trials=options.trials, timeout_s=options.timeout_s)
        with open_workers(options.workers) as workers:
            run_jobs(workers, queue, stop)
        if stop.asked is not None:
            raise StoppedError(f"stopped by {stop.asked}; the trials are kept, run the same command to continue")
        if queue.failure is not None:
            raise TrainingError(f"a trial failed: {queue.failure}; fix that, and run the same command to continue")
        result = _result(options, experiment, study, seed)
        _write(options.output, result)
        _write_run_file(options, result)
        from manyheads.start import train_run

        progress.say(f"training {options.output / RUN}")
        model = options.output / MODEL
        _, scores = train_run(options.output / RUN, model, (), progress, resume=model.exists(), stop=stop)
        result["scores"] = scores
        _write(options.output, result)
    return result


def open_space(experiment: Experiment, keys: Sequence[str] = ()) -> Space:
    """The settings to tune. Raises UsageError for a run that cannot be tuned, or that `train` would refuse."""
    from manyheads.nn.encoder_files import check_finite

    run, path = load_run(experiment.path, experiment.overrides).run, experiment.path
    without = [name for name, data in experiment.dataset.items() if "validation" not in data.splits]
    if without and not run.training.select:
        raise UsageError(
            f"{path}: task '{without[0]}' has no validation data, by which trials are compared; give tasks."
            f"{without[0]}.data.validation, a validation_fraction above 0, or name what counts in training.select"
        )
    plan = experiment.plan(Job(run.training.seed))
    check_finite(plan.model.encoder, run.encoder.name)
    if not plan.steps:
        raise UsageError(f"{path}: training.freeze freezes everything, so there is nothing to tune")
    rates = plan.phases[0].rates
    return space_of(run, Defaults(rates.base, rates.head, plan.epochs, plan.model.encoder.depth), keys)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Exclusive access to the folder. Raises UsageError if another process has it, or if it holds other files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be a folder ({error.strerror}); give -o another name") from None
    check_holds_only(folder, (LOCK,), result=JOURNAL, what="tuning")
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise UsageError(f"another process tunes in {folder}; wait until it ends, or give -o another folder") from None


def _identity(experiment: Experiment, space: Space, seed: int) -> str:
    """A sha256 of the run, its data and encoder, and the settings to tune."""
    facts = [experiment.facts(Job(seed)), [repr(setting) for setting in space.settings]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _result(options: TuneOptions, experiment: Experiment, study: Study, seed: int) -> dict[str, Any]:
    from manyheads.bundle.manifest import versions

    history = study.history()
    if not any(each.score is not None for each in history):
        words = history[0].words if history else "none was started"
        raise TrainingError(f"no trial finished ({words}); look at the data, or lower training.learning_rate")
    best, noise = best_trial(history, study.outcome(0))
    run = load_run(options.run, options.overrides).run
    result: dict[str, Any] = {
        "format": FORMAT, "run": options.run.name, "seed": seed, "best": best, "noise": noise,
        "recipe": run.training.recipe == "auto",
        "settings": [{"name": each.name, "usual": each.usual, "low": each.low, "high": each.high,
                      "choices": list(each.choices)} for each in study.space.settings],
        "held": dict(study.space.fixed),
        "trials": [trial_entry(each, study.space) for each in history],
        "importance": study.importance(),
        "given": as_given(run), "versions": versions(), "scores": {},
    }  # fmt: skip
    for each in result["trials"]:
        each |= {"note": note(each, best), "run": experiment.key(Job(seed, (), _changes(each)))}
    return {**result, "sentence": sentence(result)}


def _write_run_file(options: TuneOptions, result: Mapping[str, Any]) -> None:
    """Write the run file of the best trial, and remove a model trained with other settings, found by fewer trials."""
    from manyheads.config.output import portable_run
    from manyheads.training.identity import essential

    best = next(each for each in result["trials"] if each["number"] == result["best"])
    run = load_run(options.run, [*options.overrides, *_changes(best)])
    text = run_text(portable_run(run, options.output), result)
    path, model = options.output / RUN, options.output / MODEL
    if model.exists() and (not path.exists() or essential(path.read_text(encoding="utf-8")) != essential(text)):
        remove_folder(model)
    replace_file(path, text)


def _changes(trial: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{key}={json.dumps(value)}" for key, value in trial["changes"].items())


def _write(folder: Path, result: Mapping[str, Any]) -> None:
    from manyheads.report.tuning import tuning_page

    replace_file(folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    replace_file(folder / REPORT, tuning_page(result))
