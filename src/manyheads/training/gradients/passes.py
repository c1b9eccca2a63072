"""Forward and backward passes over the packs of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from manyheads.model import MultiTaskModel
from manyheads.training.batch import Batch
from manyheads.training.distributed.sharded import Sharded
from manyheads.training.distributed.team import Team
from manyheads.training.frozen import Frozen
from manyheads.training.gradients.step import Step
from manyheads.training.losses import Objective


class Passes:
    """Runs the model on packs, and leaves gradients in `.grad`."""

    def __init__(self, model: MultiTaskModel, objective: Objective, team: Team) -> None:
        self.model = model
        self.objective = objective
        self.team = team
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=objective.precision.scaled)
        self.frozen: Frozen | None = None
        """Reads the output of frozen layers from disk, in phases where that pays."""
        self.sharded: Sharded | None = None
        """The layers, where they are divided among processes."""
        self.zero = torch.zeros((), device=self.device)
        """What losses are added to. With divided layers its gradient goes back through those of the last pass."""

    def losses(self, batch: Batch, step: int, totals: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """Each task's share of the step's mean loss, of one pack."""
        with self.objective.precision.region():
            pack = batch.pack.to(self.device)
            if self.sharded is not None:
                outputs, self.zero = self.sharded.passed(lambda: self.model(pack, batch.reads))
            elif self.frozen is not None:
                outputs = self.model.above([self.frozen.states(batch.pack)], pack, batch.reads, self.frozen.layer)
            else:
                outputs = self.model(pack, batch.reads)
        return self.objective.losses(outputs, batch, totals, step)

    def backward(self, batch: Batch, step: Step, weights: Mapping[str, torch.Tensor]) -> None:
        """A pass over one pack, forward and backward."""
        self.backward_from(self.losses(batch, step.number, step.totals), step, weights)

    def backward_from(
        self, losses: Mapping[str, torch.Tensor], step: Step, weights: Mapping[str, torch.Tensor]
    ) -> None:
        """Add losses to those of the step, and go backward from their weighted sum."""
        total = self.zero
        for name, loss in losses.items():
            step.losses[name] += loss.detach()
            total = total + weights[name].to(self.device, non_blocking=True) * loss
        if total.requires_grad:
            self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]

    def task_by_task(
        self, step: Step, weights: Mapping[str, torch.Tensor], shared: list[nn.Parameter]
    ) -> Iterator[tuple[str, list[torch.Tensor | None]]]:
        """Each task's gradient of the shared parameters, summed over all processes and taken out of `.grad`.

        Sequences of tasks are disjoint and there is no padding, so this costs no more products than one pass over all tasks.
        """
        for name in step.tasks:
            for pack in step.packs:
                if name in pack.reads:
                    self.backward(pack.of_task(name), step, weights)
            gradient = self.team.sum_all([p.grad for p in shared], shared)
            for parameter in shared:
                parameter.grad = None
            yield name, gradient


def scale_gradients(parameters: list[nn.Parameter], factor: float) -> None:
    """Multiply the gradients of parameters that have one."""
    for parameter in parameters:
        if parameter.grad is not None and factor != 1.0:
            parameter.grad.mul_(factor)
