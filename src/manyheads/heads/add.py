"""`manyheads add` and `retrain`: tasks trained on the frozen encoder of a model, which then joins them.

Decided here:
- Each task is trained by itself (`task_trainer.py`), in a folder beside the output (`NEW.training`). A killed command resumes
  there; the folder goes when the new model is finished.
- Without `--own`, the task is trained alone as well, with the recipe and the whole encoder. The cheapest form within a point
  of that validation score is taken, or else the best one.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import load_bundle
from manyheads.config.files import RunFile, load_run
from manyheads.errors import EncoderError, UsageError
from manyheads.heads.command import check_known, open_model
from manyheads.heads.folder import model_run, write_model
from manyheads.heads.forms import Form, check_form, forms_of
from manyheads.heads.parts import Part, changed_parameters
from manyheads.heads.task_trainer import TaskTrainer, Trained
from manyheads.nn.resolve_encoder import holds_encoder
from manyheads.nn.sharing import names_from_layer

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.config.dataset import Rows
    from manyheads.config.schema import Encoder
    from manyheads.config.task_section import TaskSection
    from manyheads.tasks.base import Task
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop

MARGIN = 0.01
"""A form this far below the task trained alone is still good enough: 1 point."""


@dataclass(frozen=True, slots=True)
class Addition:
    """What `add` and `retrain` are asked for."""

    model: str | Path
    run: Path
    output: Path
    overrides: tuple[str, ...] = ()
    own: Form | None = None
    """None: the cheapest that is good enough."""


def add(asked: Addition, progress: Progress, stop: Stop) -> list[str]:
    """Write a model with the tasks of a run file added; returns what was chosen, as lines.

    Raises UsageError for a task that the model has already, TrainingError if another task would change.
    """
    bundle = open_model(asked.model, asked.output)
    file = load_run(asked.run, asked.overrides)
    there = [name for name in file.run.tasks if name in bundle.tasks]
    if there:
        raise UsageError(f"{bundle.folder} has a task '{there[0]}' already (its tasks: {', '.join(bundle.tasks)}); use "
                         "`manyheads retrain`, or take the task out of the run file")  # fmt: skip
    trainer = TaskTrainer(_on_model(file, bundle), bundle, _work_folder(asked), progress, stop)
    return _extended(asked, trainer, list(file.run.tasks), Part.of(bundle))


def retrain(asked: Addition, task: str, progress: Progress, stop: Stop) -> list[str]:
    """Write a model with one task trained again, on the data and with the settings of a run file."""
    bundle = open_model(asked.model, asked.output)
    check_known(bundle, [task])
    file = load_run(asked.run, asked.overrides)
    if task not in file.run.tasks:
        raise UsageError(f"{asked.run} has no task '{task}'; its tasks are {', '.join(file.run.tasks)}")
    kind = file.run.tasks[task].type
    if kind != bundle.tasks[task].kind:
        raise UsageError(f"task '{task}' is of type {bundle.tasks[task].kind} in {bundle.folder} and {kind} in {asked.run}; "
                         "drop it and add the other one")  # fmt: skip
    rest = Part.of(bundle, [name for name in bundle.tasks if name != task])
    trainer = TaskTrainer(_on_model(file, bundle), bundle, _work_folder(asked), progress, stop)
    trainer = replace(trainer, continues=_continues(file.run.tasks[task], trainer.rows_of(task), bundle.tasks[task]))
    return _extended(asked, trainer, [task], rest)


def _work_folder(asked: Addition) -> Path:
    return asked.output.with_name(f"{asked.output.name}.training")


def _continues(section: TaskSection, rows: Rows, old: Task[Any]) -> bool:
    """Whether the head starts from the old one: its labels are renamed, old rows are given, or the rows lack some labels."""
    from manyheads.config.task_section import renames_of

    found = {label for split in ("train", "replay") if split in rows for label in rows[split][1].statistics.labels}
    lacks = any(label not in found for label in old.label_names)
    return lacks or section.data.replay is not None or bool(renames_of(section))


def _extended(asked: Addition, trainer: TaskTrainer, tasks: Sequence[str], kept: Part) -> list[str]:
    """Train the tasks, choose what each owns, and write the new model."""
    bundle = trainer.bundle
    if asked.own is not None:
        check_form(asked.own, bundle.model.encoder)
    chosen, lines = {}, list[str]()
    for name in tasks:
        chosen[name], told = _choose(trainer, name, asked.own)
        lines += told
    new = [_part(bundle, name, trained) for name, trained in chosen.items()]
    write_model(asked.output, bundle, [kept], new, trainer.progress.say)
    shutil.rmtree(trainer.work, ignore_errors=True)
    return lines


def _on_model(file: RunFile, bundle: Bundle) -> RunFile:
    """The run file with the encoder and the window length of the model. Raises UsageError if it asks for others."""
    given = file.run.encoder.model_fields_set
    if "max_length" in given and file.run.encoder.max_length != bundle.max_length:
        raise UsageError(f"{file.path}: encoder.max_length is {file.run.encoder.max_length}, but the model reads windows of "
                         f"{bundle.max_length} tokens; leave it out")  # fmt: skip
    if file.run.sharing.shared_layers is not None or file.run.lora is not None:
        raise UsageError(f"{file.path}: the model settles what is shared; leave sharing and lora out, and use --own to say "
                         "what the new tasks may train")  # fmt: skip
    encoder = file.run.encoder if "name" in given else _first_encoder(bundle)
    encoder = encoder.model_copy(update={"max_length": bundle.max_length})
    sharing = file.run.sharing.model_copy(update={"layer_mix": bool(bundle.model.mixes)})
    return replace(file, run=file.run.model_copy(update={"encoder": encoder, "sharing": sharing}))


def _first_encoder(bundle: Bundle) -> Encoder:
    """The encoder that the model was trained from."""
    made = model_run(bundle)
    local = made.resolve(made.run.encoder.name)
    return made.run.encoder.model_copy(update={"name": str(local) if holds_encoder(local) else made.run.encoder.name})


def _choose(trainer: TaskTrainer, name: str, own: Form | None) -> tuple[Trained, list[str]]:
    """What a task owns, trained; and why."""
    depth = trainer.bundle.model.encoder.depth
    if own is not None:
        found = trainer.train(name, own)
        return found, [f"{name}: {own}, {_points(found.score)} on validation data, {own.passes(depth):.2f} passes"]
    try:
        alone = trainer.train(name, None)
    except EncoderError as error:
        trainer.progress.say(f"warning: {name} cannot be trained alone ({error}); compared with all layers private instead")
        alone = trainer.train(name, Form("top", depth))
    if alone.score is None:
        found = trainer.train(name, Form("head"))
        return found, [f"{name}: head; without validation data nothing else can be chosen"]
    tried: list[Trained] = []
    for form in forms_of(trainer.bundle.model.encoder):
        tried.append(trainer.train(name, form))
        trainer.progress.say(f"{name}: {form}: {_points(tried[-1].score)} on validation data, alone {_points(alone.score)}")
        if _enough(tried[-1], alone):
            break
    best = max(tried, key=lambda one: float("-inf") if one.score is None else one.score)
    found = tried[-1] if _enough(tried[-1], alone) else best
    passes = 2.0 if found.form is None else found.form.passes(depth)
    lines = [f"{name}: {found.form}, {_points(found.score)} on validation data (alone {_points(alone.score)}), "
             f"{passes:.2f} passes"]  # fmt: skip
    if not _enough(found, alone):
        lines.append(f"warning: {name} is more than a point below the same task trained alone; a model of its own costs "
                     "another whole pass")  # fmt: skip
    return found, lines


def _enough(trained: Trained, alone: Trained) -> bool:
    return trained.score is not None and alone.score is not None and trained.score >= alone.score - MARGIN


def _part(bundle: Bundle, name: str, trained: Trained) -> Part:
    """A trained task as a part of the model. Raises UsageError if more of the encoder changed than its form allows."""
    made, form, encoder = load_bundle(trained.folder), trained.form, bundle.model.encoder
    assert form is not None, "a task alone is not part of the model"
    if form.kind == "lora":
        owns = changed_parameters(encoder, made.model.encoder) or frozenset()
    else:
        owns = names_from_layer(encoder, encoder.depth - form.layers) if form.layers else frozenset()
    return Part(made, {name: name}, owns)


def _points(score: float | None) -> str:
    return "no score" if score is None else f"{100 * score:.1f}"
