"""Settings to the plan of a run. Nothing is written to the output folder here."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from manyheads.balance import build_balancer
from manyheads.config.dataset import (
    Dataset,
    TaskData,
    data_warnings,
    on_all_rows,
    read_dataset,
    rows_of,
    shown,
    taught_contents,
)
from manyheads.config.files import RunFile, as_given
from manyheads.config.model import adapters_of_run, build_model, locate
from manyheads.config.phases import build_phases
from manyheads.config.recipe import Facts, TaskFacts, evaluate_every, recipe_of
from manyheads.config.schema import Training
from manyheads.config.strategies import Balancing
from manyheads.config.teachers import is_folder, teacher_lines
from manyheads.config.vectors import start_with_own_vectors, vector_notes
from manyheads.data.cache import cache_folder
from manyheads.data.sampler import Sampler, build_sampler
from manyheads.data.stream import Stream
from manyheads.data.units import alone, joined
from manyheads.data.validate import WindowLengths, measure
from manyheads.data.warnings import step_warnings
from manyheads.data.windows import Window
from manyheads.errors import UsageError
from manyheads.nn.locate import holds_encoder
from manyheads.process import remember_few_shapes
from manyheads.text.pack import STEADY, Source, eighth_of
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batches import Batcher, Feed
from manyheads.training.teachers import SoftLabels

if TYPE_CHECKING:
    import torch

    from manyheads.balance import Balancer
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.training.anchor import Anchor
    from manyheads.training.frozen import Frozen
    from manyheads.training.parts import Part
    from manyheads.training.precision import Precision
    from manyheads.training.run import Plan
    from manyheads.training.team import Team

STEPS_AN_EPOCH = 300
TOKENS_PER_STEP = (512, 4096)
"""Without `tokens_per_step`: so many that an epoch has 300 steps, within these bounds."""
COMPILE_FROM = 200
"""Runs of more steps have their layers compiled; shorter ones would spend much of their time on that."""


def output_folder(file: RunFile, override: Path | None) -> Path:
    """Where a run writes to."""
    return override if override is not None else shown(file.resolve(file.run.output))


def output_of(file: RunFile, override: Path | None) -> Path:
    """The output folder. Raises UsageError when it holds a finished model."""
    from manyheads.bundle import is_finished

    folder = output_folder(file, override)
    if is_finished(folder):
        raise UsageError(f"{folder} already holds a finished model; give another --output, or delete it first")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give --output the name of a folder")
    return folder


def window_lengths(tokenizer: Tokenizer, max_length: int, keep: int | None = None) -> WindowLengths:
    """Counts the tokens of each window of sources; of long ones only the first `keep` windows."""

    def lengths(sources: Sequence[Source]) -> list[list[int]]:
        return [windows[:keep] for windows in tokenizer.lengths(sources, max_length)]

    return lengths


def tokens_per_step(training: Training, tokens_per_epoch: int) -> int:
    """As set, or for 300 steps an epoch within 512 and 4,096 tokens."""
    low, high = TOKENS_PER_STEP
    return training.tokens_per_step or max(low, min(high, tokens_per_epoch // STEPS_AN_EPOCH))


def text_budget(training: Training, max_length: int) -> int:
    """Tokens of one text that a step trains on: a document must not outgrow the step."""
    return max(training.tokens_per_step or TOKENS_PER_STEP[1], max_length)


def build_plan(file: RunFile, output: Path | None = None, team: Team | None = None) -> Plan:
    """Everything a run needs. Cheap checks come first: output, encoder, data, and only then the weights."""
    folder = output_of(file, output)
    device = device_of(file.run.training.device)
    located = locate(file)
    dataset, tokenizer = read_dataset(file), Tokenizer.from_encoder(located.path_or_id, located.revision)
    return plan_of(file, dataset, folder, device, tokenizer, team)


def plan_of(
    file: RunFile,
    dataset: Dataset,
    folder: Path,
    device: torch.device,
    tokenizer: Tokenizer,
    team: Team | None = None,
    only: Sequence[str] = (),
) -> Plan:
    """The plan of a run whose data is read; `team`: the processes that make it.

    `only`: the same run with some of its tasks. It starts from the same weights, and takes the same steps at the same
    rates on the same examples of those tasks, as if those of the others had been left out.
    """
    from manyheads.training.guard import Guard
    from manyheads.training.identity import Identity, base_hash, essential
    from manyheads.training.loop import Making, Trainer
    from manyheads.training.losses import Normaliser
    from manyheads.training.parts import parts_of, trainable
    from manyheads.training.precision import precision_of
    from manyheads.training.run import Plan
    from manyheads.training.selection import Selection
    from manyheads.training.team import ALONE

    team = team or ALONE
    training, max_length = file.run.training, file.run.encoder.max_length
    tasks = {name: data.task for name, data in dataset.items()}
    learned = {name: tasks[name] for name in only} or tasks
    validation = {name: dataset[name].table("validation") for name in learned if "validation" in dataset[name].splits}
    select = {key: weight for key, weight in training.select.items() if not only or key.partition(".")[0] in learned}
    selection = Selection.of(select, tasks, validation)
    _check_patience(file, tasks if only else validation)
    feeds = feeds_of(dataset, tokenizer, training, max_length)
    located = locate(file)
    model = build_model(file, located, tasks)
    start_with_own_vectors(file, model, tasks)
    model = model.to(device)
    as_given = file
    one = len(learned) == 1 < len(tasks)  # there is nothing to balance
    file, told = with_recipe(file, dataset, feeds, model, alone=one)
    training = file.run.training
    balancer = balancer_of(training.model_copy(update={"balancing": Balancing()}) if one else training, learned)
    precision = precision_of(training.precision, device)
    if precision.dtype and device.type == "cpu":
        remember_few_shapes()
    tokens = {feed.task.name: feed.stream.tokens_per_epoch for feed in feeds}
    per_step = tokens_per_step(training, sum(tokens.values()))
    sharded = shards_layers(file, balancer, precision, team)
    parts = trainable(parts_of(model))
    phases = build_phases(file, parts, model.encoder.depth, sum(tokens.values()) / per_step)
    steps = sum(phase.steps for phase in phases)
    one_task = balancer.mode in ("gramian", "moments")
    compiled = compiled_layers(training, model, device, 0 if one_task or sharded else steps)
    sampler = sampler_of(file, tokens, per_step, max(1, steps))
    budget = text_budget(training, max_length)
    fed = [feed for feed in feeds if feed.task.name in learned]
    batcher = Batcher(fed, sampler, tokenizer, max_length=max_length, budget=budget,
                      max_tokens=training.max_tokens_per_pack, one_task=one_task,
                      multiple=multiple_of(training, per_step, precision, compiled=bool(compiled)),
                      workers=training.workers, team=team)  # fmt: skip
    steps_an_epoch = math.ceil(sum(tokens.values()) / per_step)
    making = Making(
        optimizer_of(parts, balancer, training), balancer, Normaliser(training.balancing.normalize), precision,
        training.clip, training.seed, steps_an_epoch, None if sharded else frozen_of(training, precision),
        Guard(training.guard.skips, training.guard.spike), team, sharded, anchor_of(training, model, steps),
        steps,
    )  # fmt: skip
    run = portable_run(as_given, folder)

    def refit(share: float) -> Plan:
        again = file.run.model_copy(update={"training": training.model_copy(update={"recipe": "none", "refit": False})})
        whole = plan_of(replace(file, run=again), on_all_rows(dataset), folder, device, tokenizer, team, only)
        return replace(whole, until=round(share * whole.steps))

    return Plan(
        encoder_name=file.run.encoder.name,
        max_length=max_length,
        model=model,
        tokenizer=tokenizer,
        tasks=tasks,
        trainer=Trainer(model, tasks, batcher, parts, making),
        phases=phases,
        validation=validation,
        test={name: dataset[name].table("test") for name in learned if "test" in dataset[name].splits},
        evaluate_every=training.evaluate_every or evaluate_every(steps, steps_an_epoch),
        fit_heads=training.fit_heads and steps > 0,
        average=training.average,
        refit=refit if training.refit and steps and any(data.whole is not None for data in dataset.values()) else None,
        selection=selection,
        patience={
            name: section.patience for name, section in file.run.tasks.items() if section.patience and name in learned
        },
        adapters=adapters_of_run(file, located),
        output=folder,
        run=run,
        identity=Identity(
            essential(run) + (f"only: {', '.join(only)}\n" if only else ""),
            contents_of(dataset),
            base_hash(model, parts, tokenizer),
        ),
        save_every=training.save_every,
        keep_checkpoints=training.keep_checkpoints,
        rows=partial(rows_of, dataset, window_lengths(tokenizer, max_length)),
        epochs=steps * per_step / sum(tokens.values()),
        recipe=tuple(told),
        teachers=tuple(
            line
            for name in learned
            if (teaching := dataset[name].teaching) is not None
            for line in teacher_lines(name, teaching, dataset[name].table("train"))
        ),
        notes=(
            *vector_notes(file),
            *data_warnings(dataset),
            *(f"warning: {text}" for text in step_warnings(steps)),
            *_notes(feeds, sampler, per_step, steps_an_epoch, training, device, compiled),
        ),
    )


def with_recipe(
    file: RunFile, dataset: Dataset, feeds: Sequence[Feed], model: MultiTaskModel, *, alone: bool
) -> tuple[RunFile, list[str]]:
    """The run file with what the recipe settles, and what it says of that.

    `alone`: one of its tasks trains by itself, with the shared run's steps, at the rate of a single task.
    """
    from manyheads.training.precision import multiplies_in_tiles

    if file.run.training.recipe == "none":
        return file, []
    tasks = tuple(
        TaskFacts(
            feed.task.name,
            len(feed.table),
            feed.stream.tokens_per_epoch,
            feed.task.compares_examples,
            has_no_weights(model, feed.task.name),
            dataset[feed.task.name].whole is not None,
        )
        for feed in feeds
    )
    run = file.run
    shared = run.sharing.shared_layers != 0 and not (run.lora and run.lora.adapters == "per-task")
    equal = shared and not alone and not run.training.shard_layers  # which needs balancing without gradients
    fast = next(model.parameters()).device.type == "cpu" and multiplies_in_tiles()
    recipe = recipe_of(Facts(tasks, model.encoder.width, equal, run.lora is not None, fast))
    training = recipe.completed(file.run.training)
    told = [f"recipe: {line}" for line in recipe.lines(file.run.training)]
    return replace(file, run=file.run.model_copy(update={"training": training})), told


def feeds_of(dataset: Mapping[str, TaskData], tokenizer: Tokenizer, training: Training, max_length: int) -> list[Feed]:
    """The training examples of each task, measured, joined where the task asks for it, and shuffled."""
    counted = window_lengths(tokenizer, max_length, max(1, text_budget(training, max_length) // max_length))
    specials = sum(counted([Source("")])[0])
    feeds = []
    for name, data in dataset.items():
        labelled = data.table("train")
        table, taught = (labelled, None) if data.teaching is None else (
            data.teaching.extended(labelled), SoftLabels(data.teaching.teacher),
        )  # fmt: skip
        tokens_N = measure(table, counted).tokens_N.astype(np.int64)
        units = alone(len(labelled))
        if data.task.joins and (taught is None or taught.teacher.reads_anything):
            units = joined(tokens_N[: len(labelled)], labelled.clusters(), data.task.joins, room=max_length,
                           specials=specials, seed=training.seed, name=name)  # fmt: skip
        units = units.followed_by(len(table) - len(labelled))
        stream = Stream(units.lengths(tokens_N, specials), training.seed, name)
        feeds.append(Feed(data.task, table, stream, units, taught))
    return feeds


def contents_of(dataset: Mapping[str, TaskData]) -> dict[str, str]:
    """A sha256 of each table that decides what training does."""
    found = {f"{name}.{split}": data.table(split).content_hash() for name, data in dataset.items()
             for split in ("train", "validation") if split in data.splits}  # fmt: skip
    return found | taught_contents(dataset)


def anchor_of(training: Training, model: MultiTaskModel, steps: int) -> Anchor | None:
    """What holds the encoder near to where it begins, if anything does."""
    from manyheads.training.anchor import Anchor

    if not training.anchor or not steps:
        return None
    return Anchor(model.encoder, training.anchor, steps, [name for name in model.heads if has_no_weights(model, name)])


def has_no_weights(model: MultiTaskModel, task: str) -> bool:
    """Whether the head is all encoder: then the untrained one may be good at it already."""
    return not any(True for _ in model.heads[task].parameters())


def balancer_of(training: Training, tasks: Mapping[str, Task[Any]]) -> Balancer:
    """How losses are weighed. Raises UsageError for an unknown method or option, or a missing extra."""
    weights = {name: task.weight for name, task in tasks.items()}
    try:
        return build_balancer(training.balancing.method, weights, training.seed, training.balancing.options)
    except UsageError as error:
        raise UsageError(f"training.balancing: {error}") from None


def sampler_of(file: RunFile, tokens: Mapping[str, int], per_step: int, steps: int) -> Sampler:
    """Who trains how much in each step. Raises UsageError."""
    sampling = file.run.training.sampling
    for name, section in file.run.tasks.items():
        if section.start_step >= steps:
            raise UsageError(f"tasks.{name}.start_step is {section.start_step}, but training ends after {steps} steps; "
                             "start it earlier")  # fmt: skip
    windows = {
        name: Window(section.start_step, section.stop_step, section.tokens_per_step)
        for name, section in file.run.tasks.items()
    }
    try:
        return build_sampler(
            sampling.method, tokens, per_step, steps=steps, exponent=sampling.exponent, cap=sampling.cap,
            shares=sampling.shares or None, bound=sampling.bound, windows=windows,
        )  # fmt: skip
    except UsageError as error:
        raise UsageError(f"training.sampling: {error}") from None


def _check_patience(file: RunFile, validated: Mapping[str, Any]) -> None:
    """Patience waits for scores: raise UsageError where there will be none."""
    phases = file.run.training.phases if isinstance(file.run.training.phases, list) else []
    waits: dict[str, Any] = {
        "training": file.run.training,
        **{f"training.phases.{i}": phase for i, phase in enumerate(phases)},
    }
    asked = [f"{key}.patience" for key, section in waits.items() if section.patience and not validated]
    asked += [f"tasks.{name}.patience" for name, section in file.run.tasks.items()
              if section.patience and name not in validated]  # fmt: skip
    if asked:
        raise UsageError(f"{asked[0]} waits for better scores, but there is no validation data; "
                         "give some, or leave patience out")  # fmt: skip


def optimizer_of(parts: Sequence[Part], balancer: Balancer, training: Training) -> torch.optim.Optimizer:
    """AdamW over everything that any phase may train, and the weights that the balancing learns."""
    from manyheads.training.adatask import AdaTask
    from manyheads.training.loop import BALANCING
    from manyheads.training.optim import adamw, parameter_groups

    groups = parameter_groups(parts, training.weight_decay)
    if balancer.mode == "moments":
        return AdaTask(groups, balancer.static)
    learned = balancer.parameters()
    if learned:
        groups.append({"params": learned, "weight_decay": 0.0, "part": BALANCING})
    return adamw(groups)


def multiple_of(training: Training, per_step: int, precision: Precision, *, compiled: bool) -> int:
    """What the tokens of a pack are brought to a multiple of, where every new shape would be compiled."""
    if compiled:
        return STEADY
    half = precision.dtype is not None and precision.device.type == "cpu"
    return eighth_of(min(per_step, training.max_tokens_per_pack or per_step)) if half else 1


def shards_layers(file: RunFile, balancer: Balancer, precision: Precision, team: Team) -> bool:
    """Whether the encoder's layers are to be divided among the processes; never for one, which has all of them.

    The store of frozen layers' outputs is left out then: who finds something there would not run the layers with the others.
    Raises UsageError beside what cannot be with divided layers, for one process too.
    """
    training, sharing = file.run.training, file.run.sharing
    if not training.shard_layers:
        return False
    by_gradients = balancer.mode != "losses"
    reasons = {
        "lora, which trains no layer as a whole: there is little to divide": file.run.lora is not None,
        "sharing.shared_layers: all processes have to run all layers": sharing.shared_layers is not None,
        f"training.balancing {training.balancing.method}, which reads gradients of whole layers": by_gradients,
        "training.compile: true": training.compile is True,
        "training.anchor, which keeps a second encoder in every process": training.anchor > 0,
        "training.precision fp16; use bf16 or float32": precision.scaled,
    }
    for reason, hit in reasons.items():
        if hit:
            raise UsageError(f"training.shard_layers cannot be combined with {reason}; leave one of them out")
    return team.size > 1


def frozen_of(training: Training, precision: Precision) -> Callable[[MultiTaskModel, int], Frozen | None] | None:
    """Makes what keeps the output of frozen layers on disk. On a GPU they are computed faster than read."""
    from manyheads.training.frozen import Frozen
    from manyheads.training.store import open_store

    if not training.frozen_store_gb or precision.device.type != "cpu":
        return None

    def made(model: MultiTaskModel, layer: int) -> Frozen | None:
        try:
            limit = int(training.frozen_store_gb * 1e9)
            return Frozen(model, layer, open_store(cache_folder(), model.encoder, layer, str(precision), limit))
        except OSError:  # a cache that cannot be written: everything is computed every time
            return None

    return made


def compiled_layers(training: Training, model: MultiTaskModel, device: torch.device, steps: int) -> int:
    """Have the layers compiled as the run file says; how many will be. `steps`: of the run that gain by it.

    Raises UsageError when that is asked for where it cannot be.
    """
    if not training.compile or (training.compile == "auto" and (device.type != "cuda" or steps <= COMPILE_FROM)):
        return 0
    from manyheads.nn.compiled import can_compile, compile_layers

    if device.type != "cuda":
        raise UsageError("training.compile is true, which needs a CUDA device; use auto or false on a CPU")
    if not can_compile():
        if training.compile == "auto":
            return 0
        raise UsageError("training.compile is true, but Triton or a C compiler (gcc, clang) is missing; "
                         "install them, or use auto or false")  # fmt: skip
    return sum(map(compile_layers, [model.encoder, *(branch.encoder for branch in model.branches)]))


def device_of(name: str) -> torch.device:
    """The device to train on. Raises UsageError when CUDA is asked for and not there."""
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("training.device is cuda, but no CUDA device is available; use auto or cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def portable_run(file: RunFile, folder: Path) -> str:
    """The run file as text for the model folder: overrides applied, paths relative to that folder."""
    values = as_given(file.run)
    values["output"] = "."

    def moved(path: Any) -> Any:
        if isinstance(path, list):
            return [moved(part) for part in path]
        if isinstance(path, Mapping) or path.startswith("hf:"):
            return path
        return os.path.relpath(file.resolve(path), folder.resolve())

    for section in values.get("training", {}).get("teachers", {}).values():
        for key in section:
            if key in ("file", "unlabelled") or (key == "model" and is_folder(file, section[key])):
                section[key] = moved(section[key])
    for section in values["tasks"].values():
        section["data"] = {split: moved(path) for split, path in section["data"].items()}
    beside = file.resolve(file.run.encoder.name)
    if holds_encoder(beside):
        values.setdefault("encoder", {})["name"] = os.path.relpath(beside, folder.resolve())
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _notes(
    feeds: Sequence[Feed],
    sampler: Sampler,
    per_step: int,
    steps_an_epoch: int,
    training: Training,
    device: torch.device,
    compiled: int,
) -> list[str]:
    """What the user should know before the first step."""
    first = sampler.draw(0)
    notes = [
        f"{feed.task.name}: {len(feed.stream):,} examples, {feed.stream.tokens_per_epoch:,} tokens, "
        f"{first.get(feed.task.name, 0.0):.0%} of the first step"
        for feed in feeds
    ]
    notes.append(f"{per_step:,} tokens a step, {steps_an_epoch:,} steps an epoch")
    if compiled:
        notes.append(f"{compiled} layers are compiled in the first steps, which take longer for it")
    if device.type == "cpu" and training.device == "auto":
        notes.append("no CUDA device: training on the CPU")
    return notes
