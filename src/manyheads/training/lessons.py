"""Training with a teacher: the examples of a step by what supervises them (gold labels, soft labels, or both).

A task's part of a pack is split into up to three lessons: examples with gold labels only, with both, and with soft labels
only. Each lesson is a range of sequences, so both losses see whole examples of one kind and neither needs a mask.

Decided here: teacher annealing (Clark et al. 2019, BAM). An example with both has the loss `w * gold + (1 - w) * soft`,
where w rises from 0 at the first step to 1 after the last: the student imitates first, and the teacher's mistakes do not
hold it back in the end. An example with one kind of label has the full weight of that kind throughout. Where the teacher is
the model that the task starts from, w stays the same: what the model knew is to be kept to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch

from manyheads.tasks.base import Loss, Task
from manyheads.text.pack import Encoding
from manyheads.training.soft_labels import Supervision
from manyheads.training.targets import Targets


@dataclass(frozen=True, slots=True)
class Lesson:
    """Consecutive sequences of one task in a pack that have the same kinds of labels."""

    sequences: tuple[int, int]
    """First and one past the last, counted from the task's first sequence."""
    tokens: tuple[int, int]
    """The same in tokens."""
    gold: Targets | None
    soft: Targets | None
    denominator: float
    """What its mean loss divides by."""
    gold_share: float | None = None
    """Weight of gold labels where there are soft ones too; None: it rises over the run."""

    def each(self, change: Callable[[Targets], Targets]) -> Lesson:
        """A copy with changed targets."""
        gold, soft = (None if targets is None else change(targets) for targets in (self.gold, self.soft))
        return replace(self, gold=gold, soft=soft)

    def cut(self, task: Task[Any], output: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The part of a head's output that belongs to these sequences."""
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
    supervision: Sequence[Supervision],
) -> list[Lesson]:
    """The lessons of examples that are sorted by `Supervision.order`."""
    lessons = []
    sequence = token = start = 0
    for _, same in groupby(supervision, lambda one: one.order):
        labels = list(same)
        stop = start + len(labels)
        windows = encodings[start:stop]
        lengths = [len(window) for inputs in windows for source in inputs for window in source]
        sequences, tokens = (sequence, sequence + len(lengths)), (token, token + sum(lengths))
        gold, soft, denominator = _targets(task, examples[start:stop], windows, labels)
        lessons.append(Lesson(sequences, tokens, gold, soft, denominator, labels[0].gold_share))
        start, sequence, token = stop, sequences[1], tokens[1]
    return lessons


def completed(task: Task[Any], example: Any, known: Supervision) -> Any:
    """The example with the teacher's answers for labels that its data does not annotate."""
    distillation = task.distillation
    if not known.absent or known.soft is None or not known.gold or distillation is None:
        return example
    return distillation.completed(example, known.soft, known.absent)


def _targets(
    task: Task[Any],
    examples: Sequence[Any],
    encodings: Sequence[Sequence[Sequence[Encoding]]],
    supervision: Sequence[Supervision],
) -> tuple[Targets | None, Targets | None, float]:
    """Gold targets, soft targets, and what the mean loss divides by (that of gold labels where there are some)."""
    gold = soft = None
    denominator = 0.0
    softs = [one.soft for one in supervision if one.soft is not None]
    if softs:
        distillation = task.distillation
        assert distillation is not None, "a task with a teacher can be distilled"
        arrays = distillation.targets(examples, encodings, softs)
        denominator = distillation.denominator(arrays)
        soft = Targets.of(arrays, distillation.targets_on_cpu)
    if supervision[0].gold:
        arrays = task.targets(examples, encodings)
        denominator = task.denominator(arrays)
        gold = Targets.of(arrays, task.targets_on_cpu)
    return gold, soft, denominator


def blended(
    task: Task[Any],
    output: Mapping[str, torch.Tensor],
    lessons: Sequence[Lesson],
    gold_weight: float,
    scaled: Callable[[Loss], torch.Tensor],
) -> torch.Tensor:
    """The mean loss over all lessons, 0-dim. `gold_weight`: of gold labels beside soft ones, unless a lesson has its own."""
    total = sum(lesson.denominator for lesson in lessons) or 1.0
    distillation = task.distillation
    losses = []
    for lesson in lessons:
        part = lesson.cut(task, output)
        both = lesson.gold is not None and lesson.soft is not None
        weight = gold_weight if lesson.gold_share is None else lesson.gold_share
        gold_share, soft_share = (weight, 1.0 - weight) if both else (1.0, 1.0)
        if lesson.gold is not None and gold_share:
            losses.append(scaled(task.loss(part, lesson.gold)) * (gold_share * lesson.denominator / total))
        if lesson.soft is not None and soft_share:
            assert distillation is not None, "a task with a teacher can be distilled"
            losses.append(scaled(distillation.loss(part, lesson.soft)) * (soft_share * lesson.denominator / total))
    return torch.stack(losses).sum()


def annealed(step: int, steps: int) -> float:
    """The weight of gold labels: 0 at the first of `steps` steps, 1 after the last.

    >>> annealed(0, 100), annealed(25, 100), annealed(100, 100)
    (0.0, 0.25, 1.0)
    """
    return min(1.0, step / max(1, steps))
