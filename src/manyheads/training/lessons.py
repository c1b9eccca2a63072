"""Losses of a task that has a teacher: rows with gold labels, with soft ones, or with both, in one step.

A portion of a step is laid in up to three lessons: rows with gold labels alone, with both, with soft ones alone. Each is a
range of sequences, so that a task's two losses see nothing but whole examples of their own kind, and neither needs masks.

Decided here: teacher annealing (Clark et al. 2019, BAM). A row with both has the loss `w * gold + (1 - w) * soft`, where w
rises from 0 at the first step to 1 after the last: the student imitates first, and is not held back by the teacher's
mistakes in the end. A row that has only one of them has that in full throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from manyheads.training.device import moved

if TYPE_CHECKING:
    from manyheads.tasks.base import Loss, Task
    from manyheads.text.pack import Encoding
    from manyheads.training.batches import Batch
    from manyheads.training.soft_store import Known

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Lesson:
    """Sequences of one task in a pack whose rows are alike in what is known of them."""

    sequences: tuple[int, int]
    """First and one past the last, counted from the task's own first sequence."""
    tokens: tuple[int, int]
    """The same in tokens."""
    gold: Tensors | None
    soft: Tensors | None
    denominator: float
    """What its mean loss divides by."""

    def each(self, change: Callable[[Tensors], Tensors]) -> Lesson:
        """The same with its tensors moved elsewhere."""
        gold, soft = (None if tensors is None else change(tensors) for tensors in (self.gold, self.soft))
        return replace(self, gold=gold, soft=soft)

    def on(self, device: torch.device) -> Lesson:
        """The same on a device."""
        return self.each(lambda arrays: moved(arrays, device))

    def cut(self, task: Task[Any], output: Tensors) -> dict[str, torch.Tensor]:
        """What a head says of these sequences."""
        ranges = {"token": self.tokens, "sequence": self.sequences}
        levels = task.outputs
        found = dict(output)
        for key in levels.keys() & output.keys():
            if levels[key] in ranges:
                first, stop = ranges[levels[key]]
                if (first, stop) != (0, len(output[key])):
                    found[key] = output[key][first:stop]
        return found


def lessons_of(
    task: Task[Any],
    examples: Sequence[Any],
    encodings: Sequence[Sequence[Sequence[Encoding]]],
    known: Sequence[Known],
) -> list[Lesson]:
    """The lessons of examples that come in the order of `Known.order`."""
    lessons = []
    sequence = token = start = 0
    while start < len(known):
        stop = start + 1
        while stop < len(known) and known[stop].order == known[start].order:
            stop += 1
        some, windows = examples[start:stop], encodings[start:stop]
        lengths = [len(window) for asked in windows for source in asked for window in source]
        sequences, tokens = (sequence, sequence + len(lengths)), (token, token + sum(lengths))
        lessons.append(_lesson(task, some, windows, known[start:stop], sequences, tokens))
        start, sequence, token = stop, sequences[1], tokens[1]
    return lessons


def _lesson(
    task: Task[Any],
    examples: Sequence[Any],
    encodings: Sequence[Sequence[Sequence[Encoding]]],
    known: Sequence[Known],
    sequences: tuple[int, int],
    tokens: tuple[int, int],
) -> Lesson:
    gold = task.targets(examples, encodings) if known[0].gold else None
    softs = [one.soft for one in known if one.soft is not None]
    soft, denominator = None, 0.0
    if softs:
        distillation = task.distillation
        assert distillation is not None, "a task that has a teacher can be taught"
        soft = distillation.targets(examples, encodings, softs)
        denominator = distillation.denominator(soft)
    if gold is not None:
        denominator = task.denominator(gold)
    gold_tensors, soft_tensors = (None if arrays is None else tensors(arrays) for arrays in (gold, soft))
    return Lesson(sequences, tokens, gold_tensors, soft_tensors, denominator)


def blended(
    task: Task[Any],
    output: Tensors,
    lessons: Sequence[Lesson],
    gold_weight: float,
    scaled: Callable[[Loss], torch.Tensor],
) -> torch.Tensor:
    """The mean loss over all lessons, 0-dim. `gold_weight`: of gold labels where there are soft ones too."""
    total = sum(lesson.denominator for lesson in lessons) or 1.0
    distillation = task.distillation
    losses = []
    for lesson in lessons:
        part = lesson.cut(task, output)
        both = lesson.gold is not None and lesson.soft is not None
        shares = (gold_weight, 1.0 - gold_weight) if both else (1.0, 1.0)
        if lesson.gold is not None and shares[0]:
            losses.append(scaled(task.loss(part, lesson.gold)) * (shares[0] * lesson.denominator / total))
        if lesson.soft is not None and shares[1]:
            assert distillation is not None, "a task that has a teacher can be taught"
            losses.append(scaled(distillation.loss(part, lesson.soft)) * (shares[1] * lesson.denominator / total))
    return torch.stack(losses).sum()


def loss_of(
    task: Task[Any], output: Tensors, batch: Batch, gold_weight: float, scaled: Callable[[Loss], torch.Tensor]
) -> torch.Tensor:
    """The mean loss of a task's part of a pack, 0-dim, whether it has a teacher or not, on the device of the output."""
    device = next(iter(output.values())).device
    if task.name not in batch.lessons:
        return scaled(task.loss(output, moved(batch.targets[task.name], device)))
    lessons = [lesson.on(device) for lesson in batch.lessons[task.name]]
    return blended(task, output, lessons, gold_weight, scaled)


def annealed(step: int, steps: int) -> float:
    """The weight of gold labels at a step of a run of so many: 0 at the first, 1 after the last."""
    return min(1.0, step / max(1, steps))


def tensors(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Arrays as tensors that share their memory."""
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}
