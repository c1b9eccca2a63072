"""Settings to finished parts: tasks, tables, the plan of a run. Nothing is written to the output folder here."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from manyheads.config.files import RunFile
from manyheads.config.schema import DataPath, HubData, TaskSection, Training
from manyheads.data.hub import Hub
from manyheads.data.readers import Files
from manyheads.data.sampler import ConstantSampler
from manyheads.data.stream import Stream
from manyheads.data.table import ExampleTable, ReadReport, Skipped, build_table, split_table
from manyheads.data.validate import Loaded, WindowLengths, check_labels, measure
from manyheads.errors import DataError, EncoderError, UsageError
from manyheads.tasks import TASK_TYPES
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batches import Batcher, Feed

if TYPE_CHECKING:
    import torch

    from manyheads.nn.locate import Located
    from manyheads.tasks.base import Task
    from manyheads.text.pack import Source
    from manyheads.training.run import Plan

STEPS_AN_EPOCH = 300
TOKENS_PER_STEP = (512, 4096)
"""Without `tokens_per_step`: so many that an epoch has 300 steps, within these bounds."""
SPLIT_SEED = 0
"""Of `validation_fraction`: the same examples validate whatever the seed of the training."""


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task fitted to its training data, and its splits, read and checked."""

    task: Task[Any]
    splits: dict[str, Loaded]

    def table(self, split: str) -> ExampleTable[Any]:
        """The examples of a split."""
        return self.splits[split].table


Dataset = dict[str, TaskData]
"""The data of every task of a run."""


def task_of(name: str, section: TaskSection) -> Task[Any]:
    """The task of a section of the run file, before it has seen data."""
    settings = section.model_dump(exclude={"type", "data", "validation_fraction"})
    kind: str = section.type  # type: ignore[attr-defined]
    frozen: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    return TASK_TYPES[kind](name=name, **frozen)


def source_of(file: RunFile, path: DataPath) -> Files | Hub:
    """Where the data of one split comes from."""
    if isinstance(path, HubData):
        name = path.path.removeprefix("hf:")
        if name == path.path:
            raise DataError(
                f"{path.path}: a mapping with 'path' is for hub data sets; write hf:{path.path}, or a plain path"
            )
        return Hub(name, path.config, path.split, path.columns)
    if isinstance(path, str) and path.startswith("hf:"):
        return Hub(path.removeprefix("hf:"))
    paths = [path] if isinstance(path, str) else path
    return Files(tuple(_shown(file.resolve(part)) for part in paths))


def read_dataset(file: RunFile) -> Dataset:
    """Read and check the data of every task. Raises DataError naming task, split and place of each defect."""
    return {name: read_task(file, name) for name in file.run.tasks}


def read_task(file: RunFile, name: str) -> TaskData:
    """Read and check the data of one task. Raises DataError."""
    section = file.run.tasks[name]
    whole, report = _table(file, task_of(name, section), section.data.train, "train")
    task = whole.task.fitted(report.facts)
    found = {"train": (whole, report)}
    for split, path in (("validation", section.data.validation), ("test", section.data.test)):
        if path is not None:
            found[split] = _table(file, task, path, split)
    if section.data.validation is None and section.validation_fraction > 0:
        train, validation = split_table(whole, section.validation_fraction, SPLIT_SEED)
        aside = Skipped(len(validation), validation.where(0))
        skipped = {**report.skipped, "set aside for validation": aside}
        found["train"] = (train, replace(train.survey(), rows=report.rows, skipped=skipped))
        found["validation"] = (validation, validation.survey())
    try:
        check_labels(task, report)
    except DataError as error:
        raise _placed(error, task, "train") from None
    order = ("train", "validation", "test")
    splits = {
        split: Loaded(_checked(found[split][0].with_task(task), split), found[split][1])
        for split in order
        if split in found
    }
    return TaskData(task, splits)


def read_split(file: RunFile, task: Task[Any], split: str) -> ExampleTable[Any] | None:
    """One split of the data of a trained task; None where the run file has none."""
    section = file.run.tasks[task.name]
    path = getattr(section.data, split)
    if path is not None and (split != "train" or section.data.validation is not None):
        return _checked(_table(file, task, path, split)[0], split)
    if split == "test" or (split == "validation" and not section.validation_fraction):
        return None
    whole = _table(file, task, section.data.train, "train")[0]
    if not section.validation_fraction:
        return _checked(whole, split)
    return _checked(split_table(whole, section.validation_fraction, SPLIT_SEED)[split == "validation"], split)


def _table(file: RunFile, task: Task[Any], path: DataPath, split: str) -> tuple[ExampleTable[Any], ReadReport]:
    try:
        return build_table(task, source_of(file, path), split)
    except DataError as error:
        raise _placed(error, task, split) from None


def _checked(table: ExampleTable[Any], split: str) -> ExampleTable[Any]:
    try:
        table.check()
    except DataError as error:
        raise _placed(error, table.task, split) from None
    return table


def _placed(error: DataError, task: Task[Any], split: str) -> DataError:
    return DataError("\n".join(f"tasks.{task.name}.data.{split}: {line}" for line in str(error).splitlines()))


def locate(file: RunFile) -> Located:
    """Where the encoder is: a folder beside the run file, bundled, or on the hub."""
    from manyheads.nn.locate import locate_encoder

    encoder = file.run.encoder
    beside = file.resolve(encoder.name)
    name = str(beside) if (beside / "config.json").exists() else encoder.name
    return locate_encoder(name, encoder.revision)


def output_of(file: RunFile, override: Path | None) -> Path:
    """The output folder. Raises UsageError when it holds a finished model."""
    from manyheads.bundle import is_finished

    folder = override if override is not None else _shown(file.resolve(file.run.output))
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


def build_plan(file: RunFile, output: Path | None = None) -> Plan:
    """Everything a run needs. Cheap checks come first: output, encoder, data, and only then the weights."""
    folder = output_of(file, output)
    located = locate(file)
    dataset = read_dataset(file)

    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.nn.encoder import load_encoder
    from manyheads.training.optim import adamw, linear_schedule
    from manyheads.training.run import Plan

    tasks = {name: data.task for name, data in dataset.items()}
    training, max_length = file.run.training, file.run.encoder.max_length
    tokenizer = Tokenizer.from_encoder(located.path_or_id, located.revision)
    encoder = load_encoder(located.path_or_id, located.revision)
    if max_length > encoder.max_length:
        raise EncoderError(
            f"encoder.max_length is {max_length}, but {file.run.encoder.name} reads at most {encoder.max_length} tokens; "
            f"lower it (longer texts are read in windows)"
        )
    device = device_of(training.device)
    torch.manual_seed(training.seed)
    model = MultiTaskModel(encoder, tasks).to(device)
    batcher, steps_an_epoch, notes = build_batcher(dataset, tokenizer, training, max_length)
    steps = training.steps or max(1, math.ceil((training.epochs or 3) * steps_an_epoch))
    if device.type == "cpu" and training.device == "auto":
        notes.append("no CUDA device: training on the CPU")
    return Plan(
        encoder_name=file.run.encoder.name,
        max_length=max_length,
        model=model,
        tokenizer=tokenizer,
        tasks=tasks,
        batcher=batcher,
        validation={name: data.table("validation") for name, data in dataset.items() if "validation" in data.splits},
        test={name: data.table("test") for name, data in dataset.items() if "test" in data.splits},
        optimizer=adamw(model, rate=training.learning_rate, weight_decay=training.weight_decay),
        rate_at=linear_schedule(training.learning_rate, steps, round(training.warmup * steps)),
        steps=steps,
        evaluate_every=training.evaluate_every or min(math.ceil(steps_an_epoch), steps),
        clip=training.clip,
        seed=training.seed,
        output=folder,
        run=portable_run(file, folder),
        notes=tuple(notes),
    )


def build_batcher(
    dataset: Dataset, tokenizer: Tokenizer, training: Training, max_length: int
) -> tuple[Batcher, float, list[str]]:
    """The batches of a run, the steps of an epoch (all tokens of all tasks), and what the user should know of them."""
    budget = text_budget(training, max_length)
    feeds = []
    counted = window_lengths(tokenizer, max_length, max(1, budget // max_length))
    for name, data in dataset.items():
        table = data.table("train")
        tokens_N = measure(table, counted).tokens_N
        feeds.append(Feed(data.task, table, Stream(tokens_N, training.seed, name)))
    totals = {feed.task.name: feed.stream.tokens_per_epoch for feed in feeds}
    per_step = tokens_per_step(training, sum(totals.values()))
    sampler = ConstantSampler(totals, per_step, alpha=training.sampling_exponent)
    notes = [
        f"{feed.task.name}: {len(feed.stream):,} examples, {totals[feed.task.name]:,} tokens, "
        f"{sampler.draw(0)[feed.task.name]:.0%} of each step"
        for feed in feeds
    ]
    steps_an_epoch = sum(totals.values()) / per_step
    notes.append(f"{per_step:,} tokens a step, {math.ceil(steps_an_epoch):,} steps an epoch")
    batcher = Batcher(feeds, sampler, tokenizer, max_length=max_length, budget=budget)
    return batcher, steps_an_epoch, notes


def device_of(name: str) -> torch.device:
    """The device to train on. Raises UsageError when CUDA is asked for and not there."""
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("training.device is cuda, but no CUDA device is available; use auto or cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def portable_run(file: RunFile, folder: Path) -> str:
    """The run file as text for the model folder: overrides applied, paths relative to that folder."""
    values = file.run.model_dump(mode="json", exclude_defaults=True)
    values["output"] = "."

    def moved(path: Any) -> Any:
        if isinstance(path, list):
            return [moved(part) for part in path]
        if isinstance(path, Mapping) or path.startswith("hf:"):
            return path
        return os.path.relpath(file.resolve(path), folder.resolve())

    for section in values["tasks"].values():
        section["data"] = {split: moved(path) for split, path in section["data"].items()}
    beside = file.resolve(file.run.encoder.name)
    if (beside / "config.json").exists():
        values["encoder"]["name"] = os.path.relpath(beside, folder.resolve())
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _shown(path: Path) -> Path:
    """A path as a person would type it: relative when it lies below the working folder."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
