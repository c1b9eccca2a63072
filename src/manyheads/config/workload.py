"""What a run trains on: the measured examples of each task, and the tokens that each step takes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.config.schema import Training
from manyheads.config.task_data import Dataset
from manyheads.data.joined_examples import JoinedExamples, join_examples, not_joined
from manyheads.data.rehearsal import MixedStream
from manyheads.data.stream import Stream
from manyheads.data.validate import WindowLengths, measure
from manyheads.text.pack import Source
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.feed import Feed
from manyheads.training.soft_labels import SoftLabels

if TYPE_CHECKING:
    import numpy.typing as npt

    from manyheads.data.table import ExampleTable
    from manyheads.tasks.base import Task

STEPS_PER_EPOCH = 300
TOKENS_PER_STEP = (512, 4096)
"""Bounds of the default `tokens_per_step`, which aims at 300 steps per epoch."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The training examples of each task, and the tokens of a step over all tasks."""

    feeds: Sequence[Feed]
    step_tokens: int

    @property
    def task_tokens(self) -> dict[str, int]:
        """Tokens per epoch of each task."""
        return {feed.task.name: feed.stream.tokens_per_epoch for feed in self.feeds}

    @property
    def epoch_steps(self) -> float:
        """Steps per epoch, as a fraction."""
        return sum(self.task_tokens.values()) / self.step_tokens

    @property
    def whole_epoch_steps(self) -> int:
        """Steps per epoch, rounded up."""
        return math.ceil(self.epoch_steps)


def feeds_of(dataset: Dataset, tokenizer: Tokenizer, training: Training, max_length: int) -> list[Feed]:
    """The training examples of each task: measured, joined if the task asks for it, and shuffled."""
    counted = window_lengths(tokenizer, max_length, trained_windows(training, max_length))
    specials = sum(counted([Source("")])[0])
    feeds = []
    for name, data in dataset.items():
        if not data.trains:
            continue
        new, old = data.table("train"), data.splits["replay"].table if "replay" in data.splits else None
        table, soft = new if old is None else new.followed_by(old), None
        labelled = len(table)
        if data.teaching is not None:
            table, soft = data.teaching.extended(table), SoftLabels(data.teaching.teacher, data.teaching.hold, len(new))
        tokens_N = measure(table, counted).tokens_N.astype(np.int64)
        joined = partial(_joined, data.task, soft, room=max_length, specials=specials, seed=training.seed)
        units = joined(new, tokens_N[: len(new)])
        first = len(units)
        if old is not None:
            units = units.then(joined(old, tokens_N[len(new) : labelled]))
        stop = len(units)
        units = units.followed_by(len(table) - labelled)
        lengths_N = units.lengths(tokens_N, specials)
        fresh, rows = Stream(np.delete(lengths_N, np.s_[first:stop]), training.seed, name), len(table)
        stream: Stream | MixedStream = fresh
        if old is not None:
            stream = MixedStream(fresh, Stream(lengths_N[first:stop], training.seed, f"{name}\0replay"), first)
            rows -= round((1 - stream.old_share) * len(old))
        feeds.append(Feed(data.task, table, stream, units, soft, rows))
    return feeds


def _joined(
    task: Task[Any], soft: SoftLabels | None, table: ExampleTable[Any], tokens_N: npt.NDArray[np.int64], *, room: int,
    specials: int, seed: int,
) -> JoinedExamples:
    """The examples that labelled rows are joined to."""
    share = task.concatenated_share
    if not share or not len(table) or (soft is not None and not soft.teacher.reads_anything):
        return not_joined(len(table))
    return join_examples(tokens_N, table.clusters(), share, room=room, specials=specials, seed=seed, name=task.name)


def window_lengths(tokenizer: Tokenizer, max_length: int, keep: int | None = None) -> WindowLengths:
    """A function that counts the tokens of each window of its sources; only of the first `keep` windows."""

    def lengths(sources: Sequence[Source]) -> list[list[int]]:
        return [windows[:keep] for windows in tokenizer.lengths(sources, max_length)]

    return lengths


def tokens_per_step(training: Training, tokens_per_epoch: int) -> int:
    """`training.tokens_per_step`; by default 300 steps per epoch, within 512 and 4,096 tokens."""
    low, high = TOKENS_PER_STEP
    return training.tokens_per_step or max(low, min(high, tokens_per_epoch // STEPS_PER_EPOCH))


def text_budget(training: Training, max_length: int) -> int:
    """Maximum tokens of one text in a step, so that a document is not larger than the step."""
    return max(training.tokens_per_step or TOKENS_PER_STEP[1], max_length)


def trained_windows(training: Training, max_length: int) -> int:
    """Maximum windows of one text in a step."""
    return max(1, text_budget(training, max_length) // max_length)
