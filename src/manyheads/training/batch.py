"""One pack of a step with the targets of its tasks, and how examples are laid into packs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from manyheads.model import Reads
from manyheads.tasks.base import Task
from manyheads.text.pack import Encoding, Pack, Segments
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.lessons import Lesson, lessons_of
from manyheads.training.soft_labels import Supervision
from manyheads.training.targets import Targets

IDLE_TOKENS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """All examples of a step of a task that compares them, where several packs hold parts of them."""

    targets: Targets
    denominator: float
    """What the mean loss over all parts divides by."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One pack of a step, the sequences that each task reads of it, and each task's targets."""

    pack: Pack
    reads: Reads
    targets: Mapping[str, Targets]
    tokens: Mapping[str, int]
    denominators: Mapping[str, float]
    """What each task's mean loss divides by here; the loss of a step is the mean of its packs' weighted by it."""
    lessons: Mapping[str, Sequence[Lesson]] = field(default_factory=dict)
    """For tasks with a teacher, in place of `targets`."""
    contrast: Contrast | None = None
    """For a pack that holds a part of the examples of one task alone, which compares them all."""

    @staticmethod
    def idle() -> Batch:
        """A short pack that no task reads, for a process that has nothing to do while others compute."""
        nothing_T = torch.zeros(IDLE_TOKENS, dtype=torch.int64)
        return Batch(Pack(nothing_T, torch.arange(IDLE_TOKENS), nothing_T, Segments.of([IDLE_TOKENS])), {}, {}, {}, {})

    def of_task(self, name: str) -> Batch:
        """What one task reads, as a batch of its own."""
        if len(self.reads) == 1:
            return self
        first, stop = self.reads[name]
        return replace(self, pack=self.pack.part(first, stop), reads={name: (0, stop - first)})


@dataclass(frozen=True, slots=True)
class Portion:
    """Consecutive examples of one task, encoded, which go into one pack together."""

    task: Task[Any]
    examples: Sequence[Any]
    encodings: Sequence[list[list[Encoding]]]
    supervision: Sequence[Supervision] | None = None
    """Labels of each example where the task has a teacher, sorted by `Supervision.order`."""
    whole: Portion | None = None
    """What it is a part of, where the task compares examples (`Contrast`)."""

    @property
    def sizes(self) -> list[int]:
        """Tokens of each example."""
        return [sum(len(window) for source in inputs for window in source) for inputs in self.encodings]

    def part(self, start: int, stop: int) -> Portion:
        """Some of its examples."""
        some = None if self.supervision is None else self.supervision[start:stop]
        return Portion(self.task, self.examples[start:stop], self.encodings[start:stop], some)


def encode_examples(
    task: Task[Any], examples: Sequence[Any], tokenizer: Tokenizer, *, max_length: int, budget: int
) -> list[list[list[Encoding]]]:
    """Windows of each input of each example. The windows of one source past `budget` tokens are left out."""
    inputs = [task.sources_of_example(example) for example in examples]
    encoded = iter(tokenizer.encode([entry.source for entries in inputs for entry in entries], max_length))
    keep = max(1, budget // max_length)
    return [[list(next(encoded))[:keep] for _ in entries] for entries in inputs]


def divide(portions: Sequence[Portion], limit: int | None, *, one_task: bool) -> list[list[Portion]]:
    """Portions by pack, each pack of at most `limit` tokens. A task that fits into one pack is not split.

    `one_task`: no pack holds two tasks. Parts of a task that compares examples have packs of their own.
    """
    packs: list[list[Portion]] = []
    room = 0
    for portion in portions:
        for part in _split(portion, limit):
            size = sum(part.sizes)
            if not packs or one_task or part.whole is not None or (limit is not None and size > room):
                packs.append([])
                room = limit or 0
            packs[-1].append(part)
            room = 0 if part.whole is not None else room - size
    return packs


def _split(portion: Portion, limit: int | None) -> list[Portion]:
    """A portion in parts of about equal size, as few as fit."""
    sizes = portion.sizes
    total = sum(sizes)
    if limit is None or total <= limit:
        return [portion]
    goal = total / -(-total // limit)
    cuts, size = [0], 0
    for i, one in enumerate(sizes):
        if size and (size + one > limit or size >= goal):
            cuts.append(i)
            size = 0
        size += one
    parts = [portion.part(start, stop) for start, stop in zip(cuts, [*cuts[1:], len(sizes)], strict=True)]
    compared = portion.task.compares_examples and portion.supervision is None and len(parts) > 1
    if not compared or "constant" in portion.task.outputs.values():
        return parts
    return [replace(part, whole=portion) for part in parts]


def contrast_of(whole: Portion) -> Contrast:
    """The targets of all examples of a portion that is divided among packs."""
    arrays = whole.task.targets(whole.examples, whole.encodings)
    return Contrast(Targets.of(arrays, whole.task.targets_on_cpu), whole.task.denominator(arrays))


def lay(portions: Sequence[Portion], multiple: int = 1) -> Batch:
    """One batch of portions, in their order, padded with a tail to a `multiple` of tokens."""
    sequences: list[Encoding] = []
    reads, tokens, denominators = {}, {}, {}
    targets: dict[str, Targets] = {}
    lessons: dict[str, Sequence[Lesson]] = {}
    for portion in portions:
        task = portion.task
        windows = [window for inputs in portion.encodings for source in inputs for window in source]
        reads[task.name] = (len(sequences), len(sequences) + len(windows))
        tokens[task.name] = sum(map(len, windows))
        if portion.supervision is not None:
            found = lessons[task.name] = lessons_of(task, portion.examples, portion.encodings, portion.supervision)
            denominators[task.name] = sum(lesson.denominator for lesson in found)
        else:
            arrays = task.targets(portion.examples, portion.encodings)
            denominators[task.name] = task.denominator(arrays)
            targets[task.name] = Targets.of(arrays, task.targets_on_cpu)
        sequences.extend(windows)
    return Batch(Pack.of(sequences, multiple), reads, targets, tokens, denominators, lessons)
