"""Validation, training and evaluation of run files, for the command and for Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import METRICS, RUN, is_finished, was_refitted
from manyheads.config.files import RunFile, run_of
from manyheads.data.validate import SplitReport, examine, measure, overview
from manyheads.data.warnings import example_warnings, step_warnings
from manyheads.errors import DataError, UsageError

if TYPE_CHECKING:
    from manyheads.config.task_data import Dataset
    from manyheads.evaluate import Scores
    from manyheads.inference import LoadedModel
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.distributed.team import Team
    from manyheads.training.plan import Plan, Trained
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop

SAMPLED = 2000
"""Training examples of a task that are checked for unknown tokens."""
MAX_LISTED_WEIGHTS = 12
"""With more labels, only the smallest and the largest class weight are shown."""


def train_run(
    run: Path | RunFile,
    output: Path | None,
    overrides: Sequence[str],
    progress: Progress,
    *,
    resume: bool = False,
    stop: Stop | None = None,
    team: Team | None = None,
) -> tuple[Path, Scores]:
    """Train a run file; returns the model folder and its scores. `resume`: continue an interrupted run.

    `team`: the processes that share the run. The leading process reads the data first; the others return no scores.
    """
    file = run_of(run, overrides)
    from manyheads.config.build import build_plan
    from manyheads.config.model import encoder_location
    from manyheads.nn.encoder_files import check_finite, check_folder
    from manyheads.training.run import run_plan

    if resume and (done := _finished(file, output)) is not None:
        progress.say(f"{done} already contains the finished model of this run; nothing to do")
        return done, json.loads((done / METRICS).read_text(encoding="utf-8"))
    if team is not None and not team.leads:
        team.wait()
    source = encoder_location(file).path_or_id
    check_folder(Path(source))
    plan = build_plan(file, output, team)
    check_finite(plan.model.encoder, source)
    if team is not None and team.leads:
        team.wait()
    return plan.output, run_plan(plan, progress, save_with_report(progress), resume=resume, stop=stop) or {}


def save_with_report(progress: Progress) -> Callable[[Plan, Trained], Scores]:
    """A function that saves the model folder of a finished run, with a report in it."""

    def keep(plan: Plan, done: Trained) -> Scores:
        from manyheads.report.write import write_training_report
        from manyheads.training.model_folder import save_model

        scores = save_model(plan, done)
        try:
            write_training_report(
                plan.output, done.predictor, plan.validation, data=plan.rows(), answered=done.answered
            )
        except (OSError, ValueError) as error:  # the model itself is complete
            progress.say(f"warning: {plan.output / 'report.html'} could not be written ({error})")
        return scores

    return keep


def _finished(file: RunFile, override: Path | None) -> Path | None:
    """The output folder, if it contains the finished model of this run. Raises UsageError if the model is another run's."""
    from manyheads.config.output import output_folder, portable_run
    from manyheads.config.start_model import with_start_model
    from manyheads.training.identity import essential

    folder = output_folder(file, override)
    if not is_finished(folder):
        return None
    if essential((folder / RUN).read_text(encoding="utf-8")) != essential(portable_run(with_start_model(file), folder)):
        raise UsageError(f"{folder} contains the finished model of another run file (see its {RUN}); choose another output "
                         "folder")  # fmt: skip
    return folder


@dataclass(frozen=True, slots=True)
class Validation:
    """Result of validating a run file and its data."""

    reports: list[SplitReport]
    errors: list[str]
    plan: list[str]
    """Settings and phases of the training as lines; empty if there are errors."""

    def lines(self) -> list[str]:
        """An overview of all splits, details of each, the plan, and the errors."""
        lines = [*overview(self.reports), ""] if self.reports else []
        for report in self.reports:
            lines += [*report.lines(), ""]
        return lines + self.plan + [f"error: {line}" for line in self.errors]

    def to_json(self) -> dict[str, Any]:
        """The result as JSON."""
        return {"splits": [report.to_json() for report in self.reports], "errors": self.errors, "plan": self.plan}


def validate(run: Path | RunFile, overrides: Sequence[str]) -> Validation:
    """Read and check everything in a run file. Collects errors in the data; raises those in the run file or encoder."""
    from manyheads.config.start_model import with_start_model

    file = with_start_model(run_of(run, overrides))
    from manyheads.config.dataset import read_tasks
    from manyheads.config.model import encoder_location
    from manyheads.config.workload import trained_windows, window_lengths
    from manyheads.nn.encoder_files import check_folder
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.trackers import check_installed

    check_installed(file.run.training.report_to)
    located, max_length = encoder_location(file), file.run.encoder.max_length
    check_folder(Path(located.path_or_id))
    tokenizer = Tokenizer.from_encoder(located.path_or_id)
    reports: list[SplitReport] = []
    trained = trained_windows(file.run.training, max_length)
    dataset, errors = read_tasks(file)
    for data in dataset.values():
        splits = data.splits
        counted = window_lengths(tokenizer, max_length)
        measured = {split: measure(loaded.table, counted) for split, loaded in splits.items()}
        reports += examine(splits, measured, windows_trained=trained)
    if errors:
        return Validation(reports, errors, [])
    plan = [*_unknown_tokens(tokenizer, dataset, max_length), *_plan(file, dataset, tokenizer)]
    return Validation(reports, errors, plan)


def _unknown_tokens(tokenizer: Tokenizer, dataset: Dataset, max_length: int) -> list[str]:
    """Share of unknown tokens in the first training texts of each task, and warnings about the tokenizer."""
    from manyheads.text.unknown_tokens import MANY_UNKNOWN, cased_vocabulary_warning, unknown_token_share

    lines = []
    for name, data in dataset.items():
        if data.kept:
            continue
        table = data.table("train")
        inputs = [entry for i in range(min(len(table), SAMPLED)) for entry in table.task.sources_of_example(table[i])]
        share = unknown_token_share(tokenizer, [entry.source for entry in inputs], max_length)
        lines.append(f"{name}: {share:.1%} of the tokens are unknown to the encoder's tokenizer")
        if share > MANY_UNKNOWN:
            lines.append(f"warning: {name}: the encoder was trained on other texts (another language or script); choose "
                         "another one")  # fmt: skip
    problem = cased_vocabulary_warning(tokenizer)
    return [*lines, *([f"warning: {problem}"] if problem else []), ""]


def _plan(file: RunFile, dataset: Dataset, tokenizer: Tokenizer) -> list[str]:
    """Settings and phases of a run. Builds the whole plan, so that everything `train` refuses is refused here."""
    from manyheads.config.build import plan_of
    from manyheads.config.phases import duration_key
    from manyheads.config.start_model import start_model
    from manyheads.config.task_data import not_held, started_lines
    from manyheads.config.vectors import vector_notes
    from manyheads.nn.encoder_files import check_finite
    from manyheads.training.phases import plan_lines
    from manyheads.training.trackers import titles

    plan = plan_of(file, dataset, Path(file.run.output), tokenizer)
    check_finite(plan.model.encoder, file.run.encoder.name)
    lines = plan_lines(plan.phases, plan.trainer.parts, plan.model.encoder.depth)
    steps, key = sum(phase.steps for phase in plan.phases), duration_key(file.run.training)
    warnings = [f"warning: {text}" for text in step_warnings(steps, key, plan.recipe)]
    settings = [*started_lines(start_model(file), dataset), *plan.recipe, *plan.teachers, *_class_weights(plan.tasks)]
    warnings += not_held(file, dataset)
    tracked = f"reports to: {titles(plan.tracking.names)}"
    return [*settings, *([""] if settings else []), *lines, tracked, *vector_notes(file), *warnings]


def _class_weights(tasks: Mapping[str, Any]) -> list[str]:
    """A line on the class weights of each task that has some."""
    lines = []
    for name, task in tasks.items():
        weights = dict(zip(task.labels, task.label_weights, strict=True)) if getattr(task, "label_weights", ()) else {}
        listed = sorted(weights, key=lambda label: -weights[label])
        if len(listed) > MAX_LISTED_WEIGHTS:
            listed = [listed[0], listed[-1]]
        if listed:
            shown = ", ".join(f"{label} {weights[label]:.3g}" for label in listed)
            more = f" (largest and smallest of {len(weights)})" if len(weights) > len(listed) else ""
            lines.append(f"class weights of {name}: {shown}{more}")
    return lines


def evaluate_model(
    model: LoadedModel, *, data: Path | RunFile | None, split: str, names: Sequence[str] | None, say: Callable[[str], None]
) -> Scores:
    """Scores of a model on one split of a run file's data (by default of its own run file)."""
    from manyheads.config.dataset import read_split
    from manyheads.evaluate import add_warnings, evaluate_with_warnings
    from manyheads.training.selection import Selection

    tasks = model.predictor.check_tasks(names)
    given = data or model.bundle.folder / RUN
    file, path = run_of(given), given.path.name if isinstance(given, RunFile) else given
    tables: dict[str, Any] = {}
    for name in tasks:
        section = file.run.tasks.get(name)
        if section is None:
            say(f"{name}: not in {path}, so not scored")
            continue
        if section.type != model.tasks[name].kind:
            raise DataError(f"{path}: task '{name}' is {section.type}, but in the model it is {model.tasks[name].kind}")
        table = read_split(file, model.tasks[name], split)
        if table is None:
            say(f"{name}: {path} has no {split} data, so not scored")
        else:
            tables[name] = table
            for line in example_warnings(table):
                say(f"warning: {name} · {split}: {line}")
            trained_on = was_refitted(model.bundle.manifest) and section.data.validation is None
            if data is None and split == "validation" and trained_on:
                say(f"warning: {name} · validation: the final model was also trained on these rows (refit), so these scores "
                    "are too high; metrics.json has the scores before that")  # fmt: skip
    if not tables:
        raise UsageError(f"{path} has no {split} data for {', '.join(tasks)}; choose another split, or other data")
    metrics, warnings = evaluate_with_warnings(model.predictor, tables)
    scores: Scores = {name: {split: values} for name, values in metrics.items()}
    selection = Selection.of(file.run.training.select, model.tasks, model.tasks)
    scores["_all"] = {split: {"combined": selection.score(model.tasks, metrics)}}
    left_out = selection.left_out(model.tasks, metrics)
    add_warnings(scores, split, {**warnings, **({} if left_out is None else {"combined": left_out})})
    return scores
