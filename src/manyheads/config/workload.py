"""What a run trains on: the measured examples of each task, and the tokens that each step takes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from manyheads.config.dataset import Dataset
from manyheads.config.schema import Training
from manyheads.data.joined_examples import join_examples, not_joined
from manyheads.data.stream import Stream
from manyheads.data.validate import WindowLengths, measure
from manyheads.text.pack import Source
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.feed import Feed
from manyheads.training.soft_labels import SoftLabels

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
        labelled = data.table("train")
        table, soft = labelled, None
        if data.teaching is not None:
            table, soft = data.teaching.extended(labelled), SoftLabels(data.teaching.teacher)
        tokens_N = measure(table, counted).tokens_N.astype(np.int64)
        units = not_joined(len(labelled))
        share = data.task.concatenated_share
        if share and (soft is None or soft.teacher.reads_anything):
            units = join_examples(tokens_N[: len(labelled)], labelled.clusters(), share, room=max_length, specials=specials,
                                  seed=training.seed, name=name)  # fmt: skip
        units = units.followed_by(len(table) - len(labelled))
        stream = Stream(units.lengths(tokens_N, specials), training.seed, name)
        feeds.append(Feed(data.task, table, stream, units, soft))
    return feeds


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
