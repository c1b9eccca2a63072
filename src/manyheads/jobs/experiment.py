"""A run file with its data and encoder, read once, and an output folder with one subfolder for each job.

A job's folder is named by a hash of everything that determines its result, so after a kill or with further seeds only
missing jobs are trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.files import RunFile, as_given, load_run
from manyheads.durable import UNFINISHED, check_creatable
from manyheads.errors import UsageError
from manyheads.jobs.job import Job
from manyheads.jobs.single_task import single_task_run

if TYPE_CHECKING:
    from manyheads.config.task_data import Dataset
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.plan import Plan

RUNS = "runs"
"""The folder of the jobs, in that of the experiment."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Turns jobs into run files, plans and folders."""

    path: Path
    """The run file."""
    overrides: tuple[str, ...]
    folder: Path
    dataset: Dataset
    tokenizer: Tokenizer
    encoder_hash: str
    environment: Mapping[str, Any]
    """What affects rounding on the machine that started the experiment; the same for its workers elsewhere."""
    start_hash: str | None = None
    """Of the model that the runs start from."""

    def run_file(self, job: Job) -> RunFile:
        """The settings of a job."""
        from manyheads.bundle import ENCODER
        from manyheads.config.recipe import partial_factor
        from manyheads.config.start_model import with_start_model

        file = with_start_model(load_run(self.path, [*self.overrides, *job.changes, f"training.seed={job.seed}"]))
        if job.single is None:
            return file
        if job.layer_split is None:
            return single_task_run(file, job.tasks[0], dict(job.single))
        settings = {**dict(job.single), **job.layer_split.training_settings()}
        given = file.run.training
        if "learning_rate" in settings and given.recipe != "none" and "learning_rate" not in given.model_fields_set:
            settings["learning_rate"] *= partial_factor(job.layer_split.private / job.layer_split.depth)
        file = single_task_run(file, job.tasks[0], settings)
        name = str(self.folder_of(job.shared) / ENCODER)
        encoder = file.run.encoder.model_copy(update={"name": name, "revision": None})
        training = file.run.training.model_copy(update={"init_from": None})  # the shared run's encoder instead
        return replace(file, run=file.run.model_copy(update={"encoder": encoder, "training": training}))

    def data(self, job: Job) -> Dataset:
        """The data that a job's run file names; its tasks have the weights of that file."""
        return self._data(job, self.run_file(job))

    def _data(self, job: Job, file: RunFile) -> Dataset:
        return {
            name: replace(data, task=replace(data.task, weight=file.run.tasks[name].weight))
            for name, data in self.dataset.items()
            if job.single is None or name in job.tasks
        }

    def plan(self, job: Job) -> Plan:
        """A job as finished parts. Without `single` it keeps the steps of all tasks, those of other tasks left empty."""
        from manyheads.config.build import plan_of

        file, only = self.run_file(job), () if job.single is not None else job.tasks
        plan = plan_of(file, self._data(job, file), self.folder_of(job), self.tokenizer, only=only)
        tracking = replace(plan.tracking, name=job.name, group=self.folder.resolve().name)
        return replace(plan, tracking=tracking)

    def folder_of(self, job: Job) -> Path:
        """Where a job is trained and its outcome kept."""
        return self.folder / RUNS / self.key(job)

    def key(self, job: Job) -> str:
        """Hash of the settings, data, encoder, package versions, and what affects rounding on this machine."""
        from manyheads.bundle.manifest import versions

        facts = {**self.facts(job), "versions": versions(), "environment": self.environment}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]

    def facts(self, job: Job) -> dict[str, Any]:
        """The settings, data and encoder of a job: what the user chose. Hashed, so never rename a key."""
        from manyheads.training.identity import FREE

        file = self.run_file(job)
        values = as_given(file.run)
        settings = {
            **values, "output": None,
            "training": {key: value for key, value in values.get("training", {}).items() if key not in FREE},
            "tasks": {name: {**section, "data": None} for name, section in values["tasks"].items()},
            "encoder": {**values.get("encoder", {}), "name": None},
        }  # fmt: skip
        facts: dict[str, Any] = {"settings": settings, "tasks": job.tasks, "data": data_hashes(self._data(job, file)),
                                 "encoder": self.encoder_hash}  # fmt: skip
        if self.start_hash is not None:
            facts["start"] = self.start_hash
        if job.layer_split is not None:
            facts["rung"] = [job.layer_split.private, self.key(job.shared)]
        return facts if job.single is None else {**facts, "alone": True}

    def payload(self, job: Job) -> dict[str, Any]:
        """A job as JSON for another process, which may run in another working directory."""
        return {"run": str(self.path.resolve()), "output": str(self.folder.resolve()), "overrides": self.overrides,
                "job": job.to_json(), "environment": self.environment}  # fmt: skip


def open_experiment(path: Path, overrides: Sequence[str], folder: Path) -> Experiment:
    """Read and check the run file and all its data. Raises UsageError."""
    file = load_run(path, overrides)
    from manyheads.bundle import is_finished
    from manyheads.config.dataset import read_dataset
    from manyheads.config.model import encoder_location
    from manyheads.config.start_model import start_model
    from manyheads.nn.encoder_files import check_folder
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.identity import environment
    from manyheads.training.trackers import check_installed

    check_installed(file.run.training.report_to)
    if folder.is_file() or is_finished(folder):
        raise UsageError(f"{folder} is a {'file' if folder.is_file() else 'model folder'}; give -o a new folder")
    check_creatable(folder)
    located = encoder_location(file)
    source = Path(located.path_or_id)
    check_folder(source)
    dataset = read_dataset(file)
    tokenizer = Tokenizer.from_encoder(located.path_or_id)
    start = start_model(file)
    return Experiment(path, tuple(overrides), folder, dataset, tokenizer, _encoder_hash(source), environment(),
                      None if start is None else start.bundle.hash)  # fmt: skip


def check_holds_only(folder: Path, own: Collection[str], *, result: str, what: str) -> None:
    """Raise UsageError for a folder with other files than these, unless the file `result` shows that it holds `what`."""
    found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    other = sorted(name for name in found if name.removesuffix(UNFINISHED) not in own)
    if other and not (folder / result).exists():
        raise UsageError(f"{folder} holds {other[0][:80]} but no {what}; give -o a new folder")


def data_hashes(dataset: Dataset) -> dict[str, str]:
    """A sha256 of every split of every task, and of its teachers' soft labels."""
    from manyheads.config.task_data import teacher_hashes

    found = {f"{name}.{split}": loaded.table.content_hash() for name, data in dataset.items()
             for split, loaded in data.splits.items()}  # fmt: skip
    return found | teacher_hashes(dataset)


def _encoder_hash(folder: Path) -> str:
    """A sha256 of the encoder's files."""
    from manyheads.bundle.manifest import sha256_of

    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt", ".model"))
    return hashlib.sha256("".join(f"{path.name} {sha256_of(path)}\n" for path in files).encode()).hexdigest()
