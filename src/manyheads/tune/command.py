"""`manyheads tune`: better settings than the recipe's, by trials scored on validation data.

Decided here: the first trial is the run file as it is, and it stays unless another one beats it by more than half a standard
error. Trials never see test data; the winner is trained once more, as `manyheads train` does, on all rows if the recipe says
so, and is the only one that is tested.
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
from manyheads.crew.attend import attend
from manyheads.crew.hands import Crew, hands_of
from manyheads.crew.workshop import Job, Workshop, open_workshop
from manyheads.durable import remove_folder, replace_file
from manyheads.errors import StoppedError, TrainingError, UsageError
from manyheads.tune.result import MODEL, RUN, chosen, note, run_text, sentence, trial_entry
from manyheads.tune.space import Space, Usual, space_of
from manyheads.tune.study import JOURNAL, Study
from manyheads.tune.trials import Trials

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop

RESULT, REPORT, LOCK = "tune.json", "report.html", ".lock"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants."""

    run: Path
    output: Path
    trials: int = 20
    """In all, those of earlier times in the same folder among them."""
    timeout_s: float | None = None
    overrides: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Just these settings; none: all that the run file leaves open."""
    crew: Crew = field(default_factory=Crew)


def tune(asked: Asked, progress: Progress, stop: Stop) -> dict[str, Any]:
    """Make the trials that are missing and train the best; the content of `tune.json`, which is written with the rest.

    Raises UsageError for what cannot be tuned, StoppedError when asked to stop, TrainingError: what is done is kept.
    """
    shop = open_workshop(asked.run, asked.overrides, asked.output)
    space = opened_space(shop, asked.keys)
    with _alone(asked.output):
        seed = load_run(asked.run, asked.overrides).run.training.seed
        study = Study(asked.output, space, seed=seed, identity=_identity(shop, space, seed))
        for name, why in space.held.items():
            progress.say(f"{name} is held: {why}")
        trials = Trials(shop, study, progress, most=asked.trials, timeout_s=asked.timeout_s)
        with hands_of(asked.crew) as hands:
            attend(hands, trials, stop)
        if stop.asked is not None:
            raise StoppedError(f"stopped by {stop.asked}; what is tried is kept, and the same command goes on")
        if trials.failed is not None:
            raise TrainingError(f"a trial failed: {trials.failed}; mend that, and the same command goes on")
        result = _result(asked, shop, study, seed)
        _write(asked.output, result)
        _place_run(asked, result)
        from manyheads.start import train_run

        progress.say(f"training {asked.output / RUN}")
        model = asked.output / MODEL
        _, scores = train_run(asked.output / RUN, model, (), progress, resume=model.exists(), stop=stop)
        result["scores"] = scores
        _write(asked.output, result)
    return result


def opened_space(shop: Workshop, keys: Sequence[str] = ()) -> Space:
    """What is tuned. Raises UsageError for a run that cannot be, all that `train` would refuse included."""
    from manyheads.config.build import device_of, plan_of
    from manyheads.nn.encoder_files import check_finite

    file = load_run(shop.path, shop.overrides)
    without = [name for name, data in shop.dataset.items() if "validation" not in data.splits]
    if without and not file.run.training.select:
        raise UsageError(
            f"{shop.path}: task '{without[0]}' has no validation data, by which trials are compared; give tasks."
            f"{without[0]}.data.validation, a validation_fraction above 0, or name what counts in training.select"
        )
    plan = plan_of(file, shop.dataset, shop.folder, device_of(file.run.training.device), shop.tokenizer)
    check_finite(plan.model.encoder, file.run.encoder.name)
    if not plan.steps:
        raise UsageError(f"{shop.path}: training.freeze leaves everything as it is, so there is nothing to tune")
    rates = plan.phases[0].rates
    return space_of(file.run, Usual(rates.base, rates.head, plan.epochs, plan.model.encoder.depth), keys)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder for this process alone. Raises UsageError for one that another process has, or that holds other things."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be a folder ({error.strerror}); give -o another name") from None
    strange = sorted(path.name for path in folder.iterdir() if path.name not in (LOCK, JOURNAL))
    if strange and not (folder / JOURNAL).exists():
        raise UsageError(f"{folder} holds {strange[0][:80]} but no tuning; give -o a new folder")
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise UsageError(f"another process tunes in {folder}; wait until it ends, or give -o another folder") from None


def _identity(shop: Workshop, space: Space, seed: int) -> str:
    """A sha256 of the run, its data and encoder, and of what is tried."""
    facts = [shop.facts(Job(seed)), [repr(setting) for setting in space.settings]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _result(asked: Asked, shop: Workshop, study: Study, seed: int) -> dict[str, Any]:
    from manyheads.bundle.manifest import versions

    tried = study.tried()
    if not any(each.score is not None for each in tried):
        words = tried[0].words if tried else "none was begun"
        raise TrainingError(f"no trial came to its end ({words}); look at the data, or lower training.learning_rate")
    best, noise = chosen(tried, study.outcome(0))
    run = load_run(asked.run, asked.overrides).run
    result: dict[str, Any] = {
        "format": FORMAT, "run": asked.run.name, "seed": seed, "best": best, "noise": noise,
        "recipe": run.training.recipe == "auto",
        "settings": [{"name": each.name, "usual": each.usual, "low": each.low, "high": each.high,
                      "choices": list(each.choices)} for each in study.space.settings],
        "held": dict(study.space.held),
        "trials": [trial_entry(each, study.space) for each in tried],
        "importance": study.importance(),
        "given": as_given(run), "versions": versions(), "scores": {},
    }  # fmt: skip
    for each in result["trials"]:
        changes = tuple(f"{key}={json.dumps(value)}" for key, value in each["changes"].items())
        each |= {"note": note(each, best), "run": shop.key(Job(seed, (), changes))}
    return {**result, "sentence": sentence(result)}


def _place_run(asked: Asked, result: Mapping[str, Any]) -> None:
    """Write the run file of the best trial; a model of other settings, from fewer trials, goes."""
    from manyheads.config.build import portable_run
    from manyheads.training.identity import essential

    best = next(each for each in result["trials"] if each["number"] == result["best"])
    changes = [f"{key}={json.dumps(value)}" for key, value in best["changes"].items()]
    text = run_text(portable_run(load_run(asked.run, [*asked.overrides, *changes]), asked.output), result)
    path, model = asked.output / RUN, asked.output / MODEL
    if model.exists() and (not path.exists() or essential(path.read_text(encoding="utf-8")) != essential(text)):
        remove_folder(model)
    replace_file(path, text)


def _write(folder: Path, result: Mapping[str, Any]) -> None:
    from manyheads.report.tuning import tuning_page

    replace_file(folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    replace_file(folder / REPORT, tuning_page(result))
