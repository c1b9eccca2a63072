"""The runs of a comparison: the shared one and single ones, for each seed; trained, or found where they were kept.

A twin is the same run with some of its tasks: same first weights, steps, rates, and examples of those tasks in the same
order, as if the others' had been left out of every step (`config.build.plan_of`). So what differs is the sharing alone. A
single model at its own best (`singles.py`) has a run file of its own instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.compare.outcome import Curve, Outcome
from manyheads.compare.singles import Own, alone
from manyheads.config.files import RunFile, load_run
from manyheads.errors import UsageError
from manyheads.evaluate import answers_for, shortcomings

if TYPE_CHECKING:
    from manyheads.config.dataset import Dataset
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.loop import StepRecord
    from manyheads.training.progress import Progress
    from manyheads.training.run import Plan, Trained
    from manyheads.training.stop import Stop

RUNS = "runs"


@dataclass(frozen=True, slots=True)
class Job:
    """One run."""

    seed: int
    tasks: tuple[str, ...] = ()
    """The tasks that it has; none: all of them."""
    changes: tuple[str, ...] = ()
    """`KEY=VALUE` of the run file, for remedies."""
    own: Own | None = None
    """Set: its one task as it would be trained alone, with these settings of `training`."""

    @property
    def name(self) -> str:
        """For people."""
        what = ", ".join(self.tasks) if self.tasks else "all tasks"
        if self.own is not None:
            rate = dict(self.own).get("learning_rate")
            what += " at its own best" if rate is None else f" by itself at a rate of {rate:g}"
        return f"{what}{' with ' + ', '.join(self.changes) if self.changes else ''}, seed {self.seed}"

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return {"seed": self.seed, "tasks": self.tasks, "changes": self.changes, "own": self.own}

    @staticmethod
    def from_json(said: Mapping[str, Any]) -> Job:
        """From another process."""
        own = None if said["own"] is None else tuple((str(key), value) for key, value in said["own"])
        return Job(said["seed"], tuple(said["tasks"]), tuple(said["changes"]), own)


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where runs are made: the run file, its data, read once, and the folder of the comparison."""

    path: Path
    overrides: tuple[str, ...]
    folder: Path
    dataset: Dataset
    tokenizer: Tokenizer
    encoder: str
    """A sha256 of the encoder's files."""

    def file(self, job: Job) -> RunFile:
        """The run file of a job."""
        file = load_run(self.path, [*self.overrides, *job.changes, f"training.seed={job.seed}"])
        return file if job.own is None else alone(file, job.tasks[0], job.own)

    def data(self, job: Job) -> Dataset:
        """The data of a job: of all tasks, or of the one that its run file has."""
        return self.dataset if job.own is None else {name: self.dataset[name] for name in job.tasks}

    def place(self, job: Job) -> Path:
        """The folder of a job's run: its name is a hash of everything that determines what comes out."""
        return self.folder / RUNS / self.key(job)

    def key(self, job: Job) -> str:
        """Of the settings, the data, the encoder, the versions, and what the machine may round differently."""
        from manyheads.bundle.manifest import versions
        from manyheads.training.identity import FREE, environment

        values = self.file(job).run.model_dump(mode="json", exclude_defaults=True)
        training = {key: value for key, value in values.get("training", {}).items() if key not in FREE}
        tasks = {name: {**section, "data": None} for name, section in values["tasks"].items()}
        settings = {**values, "training": training, "tasks": tasks, "output": None}
        settings["encoder"] = {**values.get("encoder", {}), "name": None}
        whole: dict[str, Any] = {
            "settings": settings, "tasks": job.tasks, "data": contents(self.data(job)), "encoder": self.encoder,
            "versions": versions(), "environment": environment(),
        }  # fmt: skip
        if job.own is not None:
            whole["alone"] = True
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24]


class Within:
    """Progress of one run of many: its steps and warnings; what every run says is not said thirty times."""

    def __init__(self, whole: Progress) -> None:
        self.whole = whole

    def begin(self, losses: Mapping[str, Sequence[float]]) -> None:
        """Passed on."""
        self.whole.begin(losses)

    def say(self, line: str) -> None:
        """Warnings and mishaps."""
        if line.startswith("warning") or "skip" in line:
            self.whole.say(line)

    def step(self, record: StepRecord, steps: int) -> None:
        """Passed on."""
        self.whole.step(record, steps)

    def close(self) -> None:
        """Passed on."""
        self.whole.close()


def contents(dataset: Dataset) -> dict[str, str]:
    """A sha256 of every split of every task, and of what teaches it."""
    from manyheads.config.dataset import taught_contents

    found = {f"{name}.{split}": loaded.table.content_hash() for name, data in dataset.items()
             for split, loaded in data.splits.items()}  # fmt: skip
    return found | taught_contents(dataset)


def compared_split(dataset: Dataset, name: str) -> str:
    """Test data, or else validation data. Raises UsageError for a task without either."""
    for split in ("test", "validation"):
        if split in dataset[name].splits:
            return split
    raise UsageError(f"task '{name}' has neither test nor validation data, so nothing can be compared; give it some")


def run_job(shop: Workshop, job: Job, progress: Progress, stop: Stop | None = None) -> Outcome:
    """The outcome of a job, trained if it is not there yet; a run that was interrupted goes on. Raises StoppedError."""
    folder = shop.place(job)
    kept = Outcome.load(folder)
    if kept is not None:
        return kept
    from manyheads.config.build import device_of, plan_of
    from manyheads.training.run import run_to

    file = shop.file(job)
    device = device_of(file.run.training.device)
    only = job.tasks if job.own is None else ()
    plan = plan_of(file, shop.data(job), folder, device, shop.tokenizer, only=only)
    plan = replace(plan, refit=None)  # what sharing does shows without it, at half the cost

    def keep(plan: Plan, done: Trained) -> Outcome:
        outcome = outcome_of(shop, plan, done)
        outcome.save(folder)
        return outcome

    outcome = run_to(plan, Within(progress), keep, resume=True, stop=stop)
    assert outcome is not None, "one process"
    return outcome


def outcome_of(shop: Workshop, plan: Plan, done: Trained) -> Outcome:
    """Scores and evidence of a trained model, on the data that is compared."""
    names = [feed.task.name for feed in plan.trainer.batcher.feeds]
    scores, evidence, warnings = {}, {}, dict[str, str]()
    for name in names:
        table, task = shop.dataset[name].table(compared_split(shop.dataset, name)), done.tasks[name]
        answers, examples = answers_for(done.predictor, task, table)
        scores[name] = task.score(answers, examples)
        evidence[name] = task.evidence(answers, examples, table.clusters())
        warnings |= shortcomings({name: task}, {name: (answers, examples)})
    diagnostics = _probed(plan) if len(names) > 1 else {}
    return Outcome(scores, evidence, curves_of(plan, names), diagnostics, warnings, _tokens(plan))


def curves_of(plan: Plan, names: Sequence[str]) -> dict[str, Curve]:
    """Headlines on validation data, by examples seen of the task."""
    from manyheads.training.log import HISTORY

    sampler = plan.trainer.batcher.sampler
    found: dict[str, Curve] = {name: [] for name in names}
    feeds = {feed.task.name: feed for feed in plan.trainer.batcher.feeds}
    for line in (plan.output / HISTORY).read_text(encoding="utf-8").splitlines():
        row: Mapping[str, Any] = json.loads(line)
        for name, score in row.get("headline", {}).items():
            if name in found:
                part = sampler.quota(name, row["step"]) / max(feeds[name].stream.tokens_per_epoch, 1)
                found[name].append({"examples": round(part * len(feeds[name].table)), "score": score})
    return found


def _tokens(plan: Plan) -> dict[str, int]:
    """Trained on, forward and backward, by task."""
    from manyheads.training.log import HISTORY

    found: dict[str, int] = {}
    for line in (plan.output / HISTORY).read_text(encoding="utf-8").splitlines():
        for name, tokens in json.loads(line).get("tokens", {}).items():
            found[name] = found.get(name, 0) + tokens
    return found


def _probed(plan: Plan) -> dict[str, Any]:
    """What gradients say at the end of the run, on steps spread over it."""
    from manyheads.training.probe import BATCHES, probe

    if plan.trainer.sharded is not None:
        return {}
    plan.trainer.prepare(plan.phases[-1])
    steps = sorted({step * plan.steps // BATCHES for step in range(BATCHES)})
    return probe(plan.trainer, steps, plan.phases[-1].rates.base)
