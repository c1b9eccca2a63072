"""What the verbs do, for the command and for Python: validate, train, evaluate."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import METRICS, RUN, is_finished
from manyheads.bundle.manifest import was_refitted
from manyheads.config.files import load_run
from manyheads.data.validate import SplitReport, examine, measure, overview
from manyheads.data.warnings import doubts, step_warnings
from manyheads.errors import DataError, UsageError

if TYPE_CHECKING:
    from manyheads.api import Model
    from manyheads.config.dataset import Dataset
    from manyheads.config.files import RunFile
    from manyheads.evaluate import Scores
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.progress import Progress
    from manyheads.training.run import Plan, Trained
    from manyheads.training.stop import Stop
    from manyheads.training.team import Team

SAMPLED = 2000
"""Training examples whose tokens are looked at for unknown ones."""


def train(
    run: str | Path, *, output: str | Path | None = None, overrides: Sequence[str] = (), resume: bool = False
) -> Model:
    """Train a run file and return the model. `overrides` are `KEY=VALUE`. What `manyheads train` does, silently."""
    from manyheads.api import load
    from manyheads.training.progress import Quiet

    folder, _ = train_run(Path(run), Path(output) if output else None, overrides, Quiet(), resume=resume)
    return load(folder)


def train_run(
    run: Path,
    output: Path | None,
    overrides: Sequence[str],
    progress: Progress,
    *,
    resume: bool = False,
    stop: Stop | None = None,
    team: Team | None = None,
) -> tuple[Path, Scores]:
    """Train a run file; the model folder and its scores. With `resume` a run that was interrupted goes on.

    `team`: the processes that do it together. Those that do not lead read the data after the first one, and give no scores.
    """
    file = load_run(run, overrides)
    from manyheads.config.build import build_plan
    from manyheads.config.model import locate
    from manyheads.nn.encoder_files import check_finite, check_folder
    from manyheads.training.run import run_to

    if resume and (done := _finished(file, output)) is not None:
        progress.say(f"{done} already holds the finished model of this run: nothing to do")
        return done, json.loads((done / METRICS).read_text(encoding="utf-8"))
    if team is not None and not team.leads:
        team.wait()
    source = locate(file).path_or_id
    check_folder(Path(source))
    plan = build_plan(file, output, team)
    check_finite(plan.model.encoder, source)
    if team is not None and team.leads:
        team.wait()
    return plan.output, run_to(plan, progress, kept_whole(progress), resume=resume, stop=stop) or {}


def kept_whole(progress: Progress) -> Callable[[Plan, Trained], Scores]:
    """What a finished run leaves: its model folder, and a report in it."""

    def keep(plan: Plan, done: Trained) -> Scores:
        from manyheads.report.write import write_training_report
        from manyheads.training.run import save_model

        scores = save_model(plan, done)
        try:
            write_training_report(
                plan.output, done.predictor, plan.validation, data=plan.rows(), answered=done.answered
            )
        except (OSError, ValueError) as error:  # the model is whole, which is what matters
            progress.say(f"warning: {plan.output / 'report.html'} could not be written ({error})")
        return scores

    return keep


def _finished(file: RunFile, override: Path | None) -> Path | None:
    """The output folder, if it holds the finished model of this run. Raises UsageError if it holds that of another."""
    from manyheads.config.build import output_folder, portable_run
    from manyheads.training.identity import essential

    folder = output_folder(file, override)
    if not is_finished(folder):
        return None
    if essential((folder / RUN).read_text(encoding="utf-8")) != essential(portable_run(file, folder)):
        raise UsageError(f"{folder} holds a finished model of another run file (see its {RUN}); give another --output")
    return folder


@dataclass(frozen=True, slots=True)
class Validation:
    """What reading all data of a run file told."""

    reports: list[SplitReport]
    errors: list[str]
    plan: list[str]
    """The phases of training as a table; empty when there are errors."""

    def lines(self) -> list[str]:
        """A table over all splits, an account of each, and what is wrong."""
        lines = [*overview(self.reports), ""] if self.reports else []
        for report in self.reports:
            lines += [*report.lines(), ""]
        return lines + self.plan + [f"error: {line}" for line in self.errors]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {"splits": [report.to_json() for report in self.reports], "errors": self.errors, "plan": self.plan}


def validate(run: Path, overrides: Sequence[str]) -> Validation:
    """Read everything a run file names. Defects of the data are collected; a bad run file or encoder is raised."""
    file = load_run(run, overrides)
    from manyheads.config.build import text_budget, window_lengths
    from manyheads.config.dataset import read_task
    from manyheads.config.model import locate
    from manyheads.config.teachers import unknown_teachers
    from manyheads.nn.encoder_files import check_folder
    from manyheads.text.tokenizer import Tokenizer

    located, max_length = locate(file), file.run.encoder.max_length
    check_folder(Path(located.path_or_id))
    tokenizer = Tokenizer.from_encoder(located.path_or_id, located.revision)
    reports: list[SplitReport] = []
    errors = unknown_teachers(file)
    trained = max(1, text_budget(file.run.training, max_length) // max_length)
    dataset: Dataset = {}
    for name in file.run.tasks:
        try:
            dataset[name] = read_task(file, name)
        except DataError as error:
            errors += str(error).splitlines()
            continue
        splits = dataset[name].splits
        counted = window_lengths(tokenizer, max_length)
        measured = {split: measure(loaded.table, counted) for split, loaded in splits.items()}
        reports += examine(splits, measured, windows_trained=trained)
    return Validation(reports, errors, [] if errors else [*_read_by(tokenizer, dataset, max_length),
                                                          *_plan(file, dataset, tokenizer)])  # fmt: skip


def _read_by(tokenizer: Tokenizer, dataset: Dataset, max_length: int) -> list[str]:
    """How much of each task's training texts the tokenizer does not know, by the first of them; and its own faults."""
    from manyheads.text.unknown import MANY_UNKNOWN, cased_vocabulary, unknown_share

    lines = []
    for name, data in dataset.items():
        table = data.table("train")
        inputs = [entry for i in range(min(len(table), SAMPLED)) for entry in table.task.sources_of_example(table[i])]
        share = unknown_share(tokenizer, [entry.source for entry in inputs], max_length)
        lines.append(f"{name}: {share:.1%} of the tokens are unknown to the encoder's tokenizer")
        if share > MANY_UNKNOWN:
            lines.append(f"warning: {name}: the encoder was made for other texts (another language or script); choose one "
                         "that knows them")  # fmt: skip
    fault = cased_vocabulary(tokenizer)
    return [*lines, *([f"warning: {fault}"] if fault else []), ""]


def _plan(file: RunFile, dataset: Dataset, tokenizer: Tokenizer) -> list[str]:
    """The phases of a run as a table. Builds the whole plan, so whatever `train` would refuse is refused here."""
    from manyheads.config.build import device_of, plan_of
    from manyheads.config.vectors import vector_notes
    from manyheads.nn.encoder_files import check_finite
    from manyheads.training.phases import plan_lines

    plan = plan_of(file, dataset, Path(file.run.output), device_of(file.run.training.device), tokenizer)
    check_finite(plan.model.encoder, file.run.encoder.name)
    lines = plan_lines(plan.phases, plan.trainer.parts, plan.model.encoder.depth)
    told = [f"warning: {text}" for text in step_warnings(sum(phase.steps for phase in plan.phases))]
    settled = [*plan.recipe, *plan.teachers]
    return [*settled, *([""] if settled else []), *lines, *vector_notes(file), *told]


def evaluate_model(
    model: Model, *, data: Path | None, split: str, names: Sequence[str] | None, say: Callable[[str], None]
) -> Scores:
    """Scores of a model on a split of the data of a run file (its own by default)."""
    from manyheads.config.dataset import read_split
    from manyheads.evaluate import examined, warn
    from manyheads.training.selection import Selection

    chosen = model.predictor.chosen(names)
    path = data or model.bundle.folder / RUN
    file = load_run(path)
    tables: dict[str, Any] = {}
    for name in chosen:
        section = file.run.tasks.get(name)
        if section is None:
            say(f"{name}: not in {path}, so not scored")
            continue
        if section.type != model.tasks[name].kind:
            raise DataError(f"{path}: task '{name}' is {section.type}, but in the model it is {model.tasks[name].kind}")
        table = read_split(file, model.tasks[name], split)
        if table is None:
            say(f"{name}: {path} names no {split} data, so not scored")
        else:
            tables[name] = table
            for line in doubts(table):
                say(f"warning: {name} · {split}: {line}")
            trained_on = was_refitted(model.bundle.manifest) and section.data.validation is None
            if data is None and split == "validation" and trained_on:
                say(f"warning: {name} · validation: the model was trained on these rows at the end (refit), so their scores "
                    "are too high; metrics.json has those from before")  # fmt: skip
    if not tables:
        raise UsageError(f"{path} has no {split} data for {', '.join(chosen)}; choose another --split, or --data")
    metrics, warnings = examined(model.predictor, tables)
    scores: Scores = {name: {split: values} for name, values in metrics.items()}
    selection = Selection.of(file.run.training.select, model.tasks, model.tasks)
    scores["_all"] = {split: {"combined": selection.score(model.tasks, metrics)}}
    left_out = selection.left_out(model.tasks, metrics)
    warn(scores, split, {**warnings, **({} if left_out is None else {"combined": left_out})})
    return scores
