"""What training minimises: each task's mean loss against its labels, normalised, and the anchor's term.

A task returns its plain loss with its chance loss. Dividing one by the other, so that equal weights mean something, happens
here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch

from manyheads.model import POOLED
from manyheads.tasks.base import Loss, Task
from manyheads.training.anchor import Anchor
from manyheads.training.batch import Batch
from manyheads.training.lessons import annealed, blended
from manyheads.training.precision import Precision

Normalisation = Literal["none", "log-classes", "initial-loss"]


def relative_to_chance(loss: Loss) -> torch.Tensor:
    """The mean loss in units of chance, 0-dim: 1 is what a head that ignores its input gets.

    Values are divided one by one where each has its own chance loss: the mean of a batch is then the mean of its parts by
    their denominators, however a step is cut into packs.
    """
    values = loss.values / loss.chance_loss
    return values.mean() if values.ndim else values


class Normaliser:
    """What losses are divided by: `log-classes` chance, `initial-loss` the task's first loss, `none` nothing."""

    def __init__(self, method: Normalisation) -> None:
        self.method = method
        self.first: dict[str, float] = {}
        """Mean loss of each task's first step, under `initial-loss`; part of a run's state."""

    def scaled(self, name: str, loss: Loss) -> torch.Tensor:
        """The mean loss, 0-dim. Under `initial-loss` the first step of a task is divided by chance."""
        if self.method == "none":
            return loss.mean
        mean = relative_to_chance(loss)
        return mean / self.first[name] if name in self.first else mean

    def observe(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Keep the first finite positive loss of each task under `initial-loss`.

        Returns factors that convert `losses` to the units of later steps: 1, or 1 over the first loss.
        """
        factors = dict.fromkeys(losses, 1.0)
        if self.method == "initial-loss":
            for name, value in losses.items():
                if name not in self.first and 0.0 < value < float("inf"):
                    self.first[name] = value
                    factors[name] = 1.0 / value
        return factors


def task_loss(
    task: Task[Any],
    output: Mapping[str, torch.Tensor],
    batch: Batch,
    gold_weight: float,
    scaled: Callable[[Loss], torch.Tensor],
) -> torch.Tensor:
    """The mean loss of a task's part of a batch, 0-dim, with or without a teacher, on the device of the output."""
    device = next(iter(output.values())).device
    if task.name not in batch.lessons:
        return scaled(task.loss(output, batch.targets[task.name].to(device)))
    lessons = [lesson.each(lambda targets: targets.to(device)) for lesson in batch.lessons[task.name]]
    return blended(task, output, lessons, gold_weight, scaled)


class Objective:
    """The losses of a batch as a function of the outputs of the heads and of the step."""

    def __init__(
        self,
        tasks: Mapping[str, Task[Any]],
        normaliser: Normaliser,
        precision: Precision,
        *,
        anchor: Anchor | None = None,
        steps: int = 1,
    ) -> None:
        """`steps`: those of the whole run, over which teachers give way to gold labels and the anchor fades."""
        self.tasks = tasks
        self.normaliser = normaliser
        self.precision = precision
        self.anchor = anchor
        self.steps = steps

    def anchor_weight(self, step: int) -> float:
        """The weight of the anchor's term; above 0 the outputs must hold mean-pooled states (`MultiTaskModel.pools`)."""
        return self.anchor.weight_at(step) if self.anchor is not None else 0.0

    def losses(
        self,
        outputs: Mapping[str, Mapping[str, torch.Tensor]],
        batch: Batch,
        totals: Mapping[str, float],
        step: int,
        stand_in: Callable[[Mapping[str, torch.Tensor]], torch.Tensor] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Each task's share of the step's mean loss, from the outputs of one batch, in full precision.

        `totals`: what the mean loss of each task divides by over the whole step. At `step = steps` there are gold labels
        only, where an example has them, and no anchor. `stand_in`: the loss of the pack's one task, where it compares the
        examples of several packs.
        """
        losses = {}
        gold_weight, anchor_weight = annealed(step, self.steps), self.anchor_weight(step)
        for name, output in outputs.items():
            scaled = partial(self.normaliser.scaled, name)
            full = self.precision.full(output)
            loss = task_loss(self.tasks[name], full, batch, gold_weight, scaled) if stand_in is None else stand_in(full)
            if self.anchor is not None and anchor_weight:
                loss = loss + anchor_weight * self.anchor.loss(output[POOLED], batch.pack.part(*batch.reads[name]))
            losses[name] = loss * (batch.denominators[name] / (totals[name] or 1.0))
        return losses
