"""Single tasks of a run file, each trained by itself: alone, or on the frozen encoder of a model.

A training lies in a folder named by a hash of all that determines its result, so one that was begun is resumed, and one that
is finished is used again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from manyheads.bundle import ENCODER, MANIFEST, METRICS, is_finished, read_manifest, tasks_of
from manyheads.config.files import RunFile, as_given
from manyheads.heads.forms import Form
from manyheads.jobs.single_task import single_task_run

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.config.dataset import Rows
    from manyheads.config.task_data import Dataset, TaskData
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop

TRUNK = "trunk"


@dataclass(frozen=True, slots=True)
class Trained:
    """One form of a task, trained."""

    form: Form | None
    """None: alone, with an encoder of its own."""
    folder: Path
    score: float | None
    """On validation data."""


@dataclass(frozen=True)
class TaskTrainer:
    """Trains single tasks of a run file, alone or on a model's frozen encoder."""

    file: RunFile
    bundle: Bundle
    work: Path
    progress: Progress
    stop: Stop
    continues: bool = False
    """Whether the head starts from the model's head of the same name."""
    rows: dict[str, Rows] = field(default_factory=dict)
    """What was read, by task."""
    settled: dict[tuple[str, bool], TaskData] = field(default_factory=dict)
    """By task, and whether it is trained alone."""

    def rows_of(self, name: str) -> Rows:
        """The rows of a task, read once."""
        from manyheads.config.dataset import read_rows

        if name not in self.rows:
            self.rows[name] = read_rows(self.file, name)
        return self.rows[name]

    def train(self, name: str, form: Form | None) -> Trained:
        """A trained task; taken from disk if it was trained before. Raises StoppedError when asked to stop."""
        from manyheads.config.build import plan_of
        from manyheads.config.task_data import content_hashes
        from manyheads.training.checkpoint import Checkpoints
        from manyheads.training.model_folder import save_model
        from manyheads.training.run import run_plan

        file, dataset = self._run_file(name, form), self._dataset(name, alone=form is None)
        folder = self.work / self._key(file, form, dataset, content_hashes(dataset))
        if not is_finished(folder):
            what = "alone, with its own encoder" if form is None else f"on the frozen encoder ({form})"
            self.progress.say(f"{name}: training {what}")
            tokenizer = self.bundle.tokenizer if form is not None else self._own_tokenizer(file)
            plan = plan_of(file, dataset, folder, tokenizer)
            tracking = replace(plan.tracking, name=f"{name} {'alone' if form is None else form}", group=self.work.name)
            plan = replace(plan, tracking=tracking)
            begun = bool(Checkpoints(folder, plan.keep_checkpoints).steps())
            run_plan(plan, self.progress, save_model, resume=begun, stop=self.stop)
        return Trained(form, folder, _validation_score(folder, name))

    def _own_tokenizer(self, file: RunFile) -> Tokenizer:
        from manyheads.config.model import encoder_location
        from manyheads.text.tokenizer import Tokenizer

        return Tokenizer.from_encoder(encoder_location(file).path_or_id)

    def _dataset(self, name: str, *, alone: bool) -> Dataset:
        """The task with its labels settled, by itself or for the model's encoder."""
        from manyheads.config.dataset import settle

        if (name, alone) not in self.settled:
            file = self._started(self.file if alone else self._on_trunk(self.file))
            data = settle(file, name, self.rows_of(name))
            if alone and data.teaching is not None and data.teaching.hold is not None:
                data = replace(data, teaching=None)  # nothing is to be remembered there
            self.settled[name, alone] = data
        return {name: self.settled[name, alone]}

    def _run_file(self, name: str, form: Form | None) -> RunFile:
        if form is None:
            return single_task_run(self.file, name, {})
        encoder = self.bundle.model.encoder
        head = self._dataset(name, alone=False)[name].task.build_head(encoder.width)
        has_weights = any(True for _ in head.parameters())
        settings = form.settings(encoder.depth, has_weights=has_weights)
        file = self._started(self._on_trunk(single_task_run(self.file, name, settings)))
        if form.kind == "lora":
            from manyheads.config.strategies import Lora

            return replace(file, run=file.run.model_copy(update={"lora": Lora()}))
        return file

    def _on_trunk(self, file: RunFile) -> RunFile:
        """With the model's encoder."""
        encoder = file.run.encoder.model_copy(update={"name": str(self._trunk().resolve()), "revision": None})
        return replace(file, run=file.run.model_copy(update={"encoder": encoder}))

    def _started(self, file: RunFile) -> RunFile:
        """Starting from the model, if the head does."""
        if not self.continues:
            return file
        training = file.run.training.model_copy(update={"init_from": str(self.bundle.folder.resolve())})
        return replace(file, run=file.run.model_copy(update={"training": training}))

    def _trunk(self) -> Path:
        """The model's encoder as a folder of its own, written once."""
        from manyheads.durable import make_folder
        from manyheads.nn.pretrained import save_encoder

        folder = self.work / f"{TRUNK}-{self.bundle.hash[:16]}"
        if not folder.exists():

            def fill(unfinished: Path) -> None:
                save_encoder(self.bundle.model.encoder, unfinished / ENCODER)
                self.bundle.tokenizer.save(unfinished / ENCODER)

            folder.parent.mkdir(parents=True, exist_ok=True)
            make_folder(folder, fill)
        return folder / ENCODER

    def _key(self, file: RunFile, form: Form | None, dataset: Dataset, data: dict[str, str]) -> str:
        """Names everything that determines the result."""
        from manyheads.bundle.manifest import versions

        encoder = file.run.encoder.name if form is None else self.bundle.hash
        values = {**as_given(file.run), "output": None, "encoder": encoder}
        whole = json.dumps([values, str(form), data, versions()], sort_keys=True, default=str)
        return f"{next(iter(dataset))}-{'alone' if form is None else str(form).replace(':', '-')}-" + (
            hashlib.sha256(whole.encode()).hexdigest()[:16]
        )


def _validation_score(folder: Path, name: str) -> float | None:
    task = tasks_of(read_manifest(folder), folder / MANIFEST)[name]
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8")).get(name, {}).get("validation")
    return None if metrics is None else task.main_score(metrics)
