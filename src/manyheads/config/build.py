"""Settings to the plan of a run. Nothing is written to the output folder here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.dataset import on_all_rows, read_dataset
from manyheads.config.files import RunFile
from manyheads.config.first_tasks import first_run, trains_one_encoder
from manyheads.config.hardware import device_of
from manyheads.config.model import adapters_of_run, base_model, build_model, encoder_location
from manyheads.config.output import portable_run, unfinished_output
from manyheads.config.phases import duration_key
from manyheads.config.recipe import Duration, RecipeInputs, TaskSize, evaluate_every, first_epochs, recipe_of
from manyheads.config.start_model import load_head_weights, start_model, with_start_model
from manyheads.config.task_data import (
    Dataset,
    Scope,
    content_hashes,
    data_warnings,
    label_changes,
    not_held,
    rows_of,
    solvable,
    started_lines,
)
from manyheads.config.teachers import teacher_line
from manyheads.config.trainer import build_trainer, heads_without_weights
from manyheads.config.vectors import start_with_own_vectors, vector_notes
from manyheads.config.workload import Workload, feeds_of, tokens_per_step, window_lengths
from manyheads.data.warnings import step_warnings
from manyheads.errors import UsageError
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.feed import Feed
from manyheads.training.trackers import check_installed
from manyheads.training.trackers.base import Tracking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyheads.model import MultiTaskModel
    from manyheads.training.distributed.team import Team
    from manyheads.training.plan import Plan


def build_plan(file: RunFile, output: Path | None = None, team: Team | None = None) -> Plan:
    """The plan of a run. Cheap checks come first: output folder, device, encoder, data, and only then the weights."""
    file = with_start_model(file)
    folder = unfinished_output(file, output)
    device_of(file.run.training.device)
    check_installed(file.run.training.report_to)
    encoder = encoder_location(file)
    dataset, tokenizer = read_dataset(file), Tokenizer.from_encoder(encoder.path_or_id)
    return plan_of(file, dataset, folder, tokenizer, team=team)


def plan_of(
    file: RunFile,
    dataset: Dataset,
    folder: Path,
    tokenizer: Tokenizer,
    *,
    team: Team | None = None,
    only: Sequence[str] = (),
) -> Plan:
    """The plan of a run whose data has been read; `team`: the processes that share the run.

    `only`: train just these tasks of the run. They start from the same weights and take the same steps at the same rates on
    the same examples as in the whole run, without the examples of the other tasks.
    """
    from manyheads.training.distributed.team import ALONE
    from manyheads.training.identity import Identity, base_hash, essential
    from manyheads.training.plan import Plan
    from manyheads.training.selection import Selection

    check_installed(file.run.training.report_to)
    team, scope, written = team or ALONE, Scope(dataset, only), file
    validation = scope.tables("validation")
    selection = Selection.of(scope.selected(file.run.training.select), scope.tasks, validation)
    _check_patience(file, scope.tasks if only else validation)
    max_length, encoder = file.run.encoder.max_length, encoder_location(file)
    feeds = feeds_of(dataset, tokenizer, file.run.training, max_length)
    model = build_model(file, encoder, scope.tasks)
    start_with_own_vectors(file, model, scope.tasks)
    start = start_model(file)
    renamed = {name: data.renames for name, data in dataset.items()}
    continued = () if start is None else load_head_weights(start, model, scope.tasks, renamed)
    model = model.to(device_of(file.run.training.device))
    file, recipe_lines = with_recipe(file, scope, feeds, model)
    training = file.run.training
    epoch_tokens = sum(feed.stream.tokens_per_epoch for feed in feeds)
    work = Workload(feeds, tokens_per_step(training, epoch_tokens))
    built = build_trainer(file, scope, model, work, tokenizer, team)
    steps, run = built.steps, portable_run(written, folder)
    refits = training.refit and steps and any(data.whole is not None for data in dataset.values())
    return Plan(
        encoder_name=file.run.encoder.name,
        base_model=base_model(file, encoder),
        max_length=max_length,
        model=model,
        tokenizer=tokenizer,
        tasks=scope.tasks,
        trainer=built.trainer,
        phases=built.phases,
        validation=validation,
        test=scope.tables("test"),
        evaluate_every=training.evaluate_every or evaluate_every(steps, work.whole_epoch_steps),
        fit_heads=training.fit_heads and steps > 0,
        final_layers=None if training.fit_heads else {},
        continued=tuple(name for name in continued if not solvable(dataset[name])),
        started_from=None if start is None else {"model": start.bundle.hash, "labels": label_changes(dataset)},
        average=training.average,
        first=None if only else _first(file, scope, folder, tokenizer, team, work, steps),
        refit=_refit(file, scope, folder, tokenizer, team) if refits else None,
        selection=selection,
        patience={name: patience for name in scope.trained if (patience := file.run.tasks[name].patience)},
        adapters=adapters_of_run(file, encoder),
        output=folder,
        run=run,
        identity=Identity(
            essential(run) + (f"only: {', '.join(only)}\n" if only else ""),
            content_hashes(dataset) | ({} if start is None else {"init_from": start.bundle.hash}),
            base_hash(model, built.trainer.parts, tokenizer),
        ),
        save_every=training.save_every,
        keep_checkpoints=training.keep_checkpoints,
        tracking=Tracking(training.report_to, file.run.model_dump(mode="json")),
        rows=cache(partial(rows_of, dataset, window_lengths(tokenizer, max_length))),
        epochs=steps * work.step_tokens / epoch_tokens,
        recipe=tuple(recipe_lines),
        teachers=tuple(
            teacher_line(name, teaching, dataset[name].table("train"))
            for name in scope.trained
            if (teaching := dataset[name].teaching) is not None
        ),
        notes=(
            *started_lines(start, dataset),
            *not_held(file, dataset),
            *vector_notes(file),
            *data_warnings(dataset),
            *(f"warning: {text}" for text in step_warnings(steps, duration_key(training), recipe_lines)),
            *built.notes,
        ),
    )


def _first(
    file: RunFile, scope: Scope, folder: Path, tokenizer: Tokenizer, team: Team, work: Workload, steps: int
) -> Callable[[], Plan] | None:
    """Builds the training of the first tasks alone; None where there are none, or no steps."""
    names = file.run.training.first_tasks
    sizes = [TaskSize(feed.task.name, feed.rows_per_epoch, feed.stream.tokens_per_epoch)
             for feed in work.feeds if feed.task.name in names]  # fmt: skip
    epochs = first_epochs(sizes, steps * work.step_tokens) if sizes else 0.0
    if not epochs:
        return None

    def first() -> Plan:
        some = {name: data for name, data in scope.dataset.items() if name in names}
        return replace(plan_of(first_run(file, epochs), some, folder, tokenizer, team=team), final_layers={})

    return first


def _refit(
    file: RunFile, scope: Scope, folder: Path, tokenizer: Tokenizer, team: Team
) -> Callable[[float], Plan]:
    """Builds the same run on all rows, up to a share of its steps."""

    def refit(share: float) -> Plan:
        training = file.run.training.model_copy(update={"recipe": "none", "refit": False})
        again = replace(file, run=file.run.model_copy(update={"training": training}))
        whole = plan_of(again, on_all_rows(scope.dataset), folder, tokenizer, team=team, only=scope.only)
        return replace(whole, until=round(share * whole.steps))

    return refit


def with_recipe(
    file: RunFile, scope: Scope, feeds: Sequence[Feed], model: MultiTaskModel
) -> tuple[RunFile, list[str]]:
    """The run file completed by the recipe, and a line on each setting of the recipe."""
    from manyheads.training.precision import multiplies_in_tiles

    run = file.run
    if run.training.recipe == "none":
        return file, []
    plain = heads_without_weights(model)
    sizes = tuple(
        TaskSize(
            feed.task.name,
            feed.rows_per_epoch,
            feed.stream.tokens_per_epoch,
            feed.task.compares_examples,
            feed.task.name in plain,
            scope.dataset[feed.task.name].whole is not None,
            feed.soft_labels is not None and feed.soft_labels.hold is not None,
            scope.dataset[feed.task.name].kept,
        )
        for feed in feeds
    )
    shared = run.sharing.shared_layers != 0 and not (run.lora and run.lora.adapters == "per-task")
    # A single task of a run takes the run's steps at the rate of a single task; sharding needs balancing without gradients.
    shared = shared and not scope.single and not run.training.shard_layers
    fast = next(model.parameters()).device.type == "cpu" and multiplies_in_tiles()
    trained = run.training.freeze.trained_layers(model.encoder.depth) if run.lora is None else 1.0
    training = run.training
    given = None
    timed = any(run.tasks[name].start_step or run.tasks[name].stop_step for name in plain)
    chosen_here = "first_tasks" not in training.model_fields_set and not timed
    if trains_one_encoder(file) and (training.first_tasks or chosen_here):
        epoch_tokens = sum(feed.stream.tokens_per_epoch for feed in feeds)
        given = Duration((training.epochs or 0) * epoch_tokens, training.steps, training.tokens_per_step)
    recipe = recipe_of(RecipeInputs(sizes, model.encoder.width, shared, run.lora is not None, trained, fast, given))
    lines = [f"recipe: {line}" for line in recipe.lines(run.training)]
    return replace(file, run=run.model_copy(update={"training": recipe.completed(run.training)})), lines


def _check_patience(file: RunFile, validated: Mapping[str, Any]) -> None:
    """Raise UsageError if patience is set without validation data to score on."""
    phases = file.run.training.phases if isinstance(file.run.training.phases, list) else []
    sections: dict[str, Any] = {
        "training": file.run.training,
        **{f"training.phases.{i}": phase for i, phase in enumerate(phases)},
    }
    unscored = [f"{key}.patience" for key, section in sections.items() if section.patience and not validated]
    unscored += [f"tasks.{name}.patience" for name, section in file.run.tasks.items()
              if section.patience and name not in validated]  # fmt: skip
    if unscored:
        raise UsageError(f"{unscored[0]} waits for better scores, but there is no validation data; "
                         "add some, or remove patience")  # fmt: skip
