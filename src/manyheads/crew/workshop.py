"""The run file of many trainings, its data, read once, and the folder in which each training has a place of its own.

Decided here: a place is named by a hash of everything that determines what comes out. So whoever is killed, repeated, or
asked for more trains only what is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.files import RunFile, as_given, load_run
from manyheads.crew.alone import Own, alone
from manyheads.errors import UsageError

if TYPE_CHECKING:
    from manyheads.config.dataset import Dataset
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.loop import StepRecord
    from manyheads.training.progress import Progress

RUNS = "runs"
ENCODER = "encoder"
"""In the model folder of a run."""


@dataclass(frozen=True, slots=True)
class Rung:
    """How much of the encoder is a task's own, above layers of a shared model that stay as they are."""

    own_layers: int
    """0: none, only its head; `depth`: all, embeddings too."""
    depth: int

    def settings(self) -> dict[str, Any]:
        """Of `training`: the head is solved first, and the layers below the task's own are frozen."""
        freeze = {"layers": self.depth - self.own_layers} if self.own_layers else {"encoder": True}
        return {"fit_heads": True, "phases": None, "freeze": freeze}


@dataclass(frozen=True, slots=True)
class Job:
    """One training."""

    seed: int
    tasks: tuple[str, ...] = ()
    """The tasks that it has; none: all of them."""
    changes: tuple[str, ...] = ()
    """`KEY=VALUE` of the run file, for remedies and trials."""
    own: Own | None = None
    """Set: its one task as it would be trained alone, with these settings of `training`."""
    rung: Rung | None = None
    """Set: it starts from the encoder and the head of the shared run of its seed."""
    keep: bool = field(default=False, compare=False)
    """Whether its model folder is wanted beside the outcome."""

    @property
    def name(self) -> str:
        """For people."""
        what = ", ".join(self.tasks) if self.tasks else "all tasks"
        if self.own is not None:
            rate = dict(self.own).get("learning_rate")
            if self.rung is not None:
                return f"{what} with {self.rung.own_layers} of {self.rung.depth} layers of its own, seed {self.seed}"
            what += " at its own best" if rate is None else f" by itself at a rate of {rate:g}"
        return f"{what}{' with ' + ', '.join(self.changes) if self.changes else ''}, seed {self.seed}"

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        rung = None if self.rung is None else (self.rung.own_layers, self.rung.depth)
        return {"seed": self.seed, "tasks": self.tasks, "changes": self.changes, "own": self.own, "rung": rung,
                "keep": self.keep}  # fmt: skip

    @staticmethod
    def from_json(said: Mapping[str, Any]) -> Job:
        """From another process."""
        own = None if said["own"] is None else tuple((str(key), value) for key, value in said["own"])
        rung = None if said["rung"] is None else Rung(*said["rung"])
        return Job(said["seed"], tuple(said["tasks"]), tuple(said["changes"]), own, rung, said["keep"])


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where trainings are made: the run file, its data, and the folder for all of them."""

    path: Path
    overrides: tuple[str, ...]
    folder: Path
    dataset: Dataset
    tokenizer: Tokenizer
    encoder: str
    """A sha256 of the encoder's files."""
    environment: Mapping[str, Any]
    """What a machine may round differently: of the one that leads, also where another one trains."""

    def file(self, job: Job) -> RunFile:
        """The run file of a job."""
        file = load_run(self.path, [*self.overrides, *job.changes, f"training.seed={job.seed}"])
        if job.own is None:
            return file
        if job.rung is None:
            return alone(file, job.tasks[0], dict(job.own))
        made = alone(file, job.tasks[0], {**dict(job.own), **job.rung.settings()})
        encoder = made.run.encoder.model_copy(update={"name": str(self.start(job) / ENCODER), "revision": None})
        return replace(made, run=made.run.model_copy(update={"encoder": encoder}))

    def start(self, job: Job) -> Path:
        """The folder of the shared run that a rung starts from."""
        return self.place(Job(job.seed))

    def data(self, job: Job) -> Dataset:
        """The data of a job: of all tasks, or of the one that its run file has."""
        return self.dataset if job.own is None else {name: self.dataset[name] for name in job.tasks}

    def place(self, job: Job) -> Path:
        """The folder of a job's run."""
        return self.folder / RUNS / self.key(job)

    def key(self, job: Job) -> str:
        """Of the settings, the data, the encoder, the versions, and what the machine may round differently."""
        from manyheads.bundle.manifest import versions

        whole = {**self.facts(job), "versions": versions(), "environment": self.environment}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24]

    def facts(self, job: Job) -> dict[str, Any]:
        """The settings, the data and the encoder of a job: what its user chose."""
        from manyheads.training.identity import FREE

        values = as_given(self.file(job).run)
        training = {key: value for key, value in values.get("training", {}).items() if key not in FREE}
        tasks = {name: {**section, "data": None} for name, section in values["tasks"].items()}
        settings = {**values, "training": training, "tasks": tasks, "output": None}
        settings["encoder"] = {**values.get("encoder", {}), "name": None}
        facts: dict[str, Any] = {"settings": settings, "tasks": job.tasks, "data": contents(self.data(job)),
                                 "encoder": self.encoder}  # fmt: skip
        if job.rung is not None:
            facts["rung"] = [job.rung.own_layers, self.key(Job(job.seed))]
        return facts if job.own is None else {**facts, "alone": True}

    def task(self, job: Job) -> dict[str, Any]:
        """A job for a process of its own, as JSON, which may run in another folder."""
        return {"run": str(self.path.resolve()), "output": str(self.folder.resolve()), "overrides": self.overrides,
                "job": job.to_json(), "environment": self.environment}  # fmt: skip


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


def open_workshop(path: Path, overrides: Sequence[str], folder: Path) -> Workshop:
    """The run file and all its data, read and checked, on the machine that leads. Raises UsageError."""
    file = load_run(path, overrides)
    from manyheads.bundle import is_finished
    from manyheads.config.dataset import read_dataset
    from manyheads.config.model import locate
    from manyheads.nn.encoder_files import check_folder
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.identity import environment

    if folder.is_file() or is_finished(folder):
        raise UsageError(f"{folder} is a {'file' if folder.is_file() else 'model folder'}; give -o a new folder")
    located = locate(file)
    source = Path(located.path_or_id)
    check_folder(source)
    dataset = read_dataset(file)
    tokenizer = Tokenizer.from_encoder(located.path_or_id, located.revision)
    return Workshop(path, tuple(overrides), folder, dataset, tokenizer, _hash_of(source), environment())


def contents(dataset: Dataset) -> dict[str, str]:
    """A sha256 of every split of every task, and of what teaches it."""
    from manyheads.config.dataset import taught_contents

    found = {f"{name}.{split}": loaded.table.content_hash() for name, data in dataset.items()
             for split, loaded in data.splits.items()}  # fmt: skip
    return found | taught_contents(dataset)


def _hash_of(folder: Path) -> str:
    """Of the files that an encoder is made of."""
    from manyheads.bundle.manifest import sha256_of

    wanted = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt", ".model"))
    return hashlib.sha256("".join(f"{path.name} {sha256_of(path)}\n" for path in wanted).encode()).hexdigest()
