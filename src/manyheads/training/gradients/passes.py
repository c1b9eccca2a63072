"""Forward and backward passes over the packs of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from manyheads.model import MultiTaskModel
from manyheads.tasks.base import Output
from manyheads.training.batch import Batch
from manyheads.training.distributed.sharded import Sharded
from manyheads.training.distributed.team import Team
from manyheads.training.frozen import Frozen
from manyheads.training.gradients.contrast import StandIn, stand_ins
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
        self.stand_ins: dict[int, StandIn] = {}
        """Of packs that hold parts of examples that are compared, by the id of the pack."""

    def losses(self, batch: Batch, step: int, totals: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """Each task's share of the step's mean loss, of one pack."""
        stand_in = self.stand_in(batch)
        return self.objective.losses(self._outputs(batch), batch, totals, step, stand_in)

    def stand_in(self, batch: Batch) -> StandIn | None:
        """What stands in for the loss of a pack that is about to run, whose dropout is seeded; None for most packs."""
        found = self.stand_ins.get(id(batch))
        if found is not None:
            torch.manual_seed(found.seed)
        return found

    def compare(self, packs: Sequence[Batch], seed: int) -> None:
        """Prepare the losses of tasks that compare the examples of several packs."""
        self.stand_ins = {}
        if any(batch.contrast is not None for batch in packs):
            self.stand_ins = stand_ins(packs, seed, self._compared, self._loss_of_all)

    def _compared(self, batch: Batch) -> Output:
        [name] = batch.reads
        output = self.objective.precision.full(self._outputs(batch)[name])
        return {key: output[key] for key in self.objective.tasks[name].outputs}

    def _loss_of_all(self, batch: Batch, output: Output) -> torch.Tensor:
        [name] = batch.reads
        assert batch.contrast is not None, "a part of a contrast"
        loss = self.objective.tasks[name].loss(output, batch.contrast.targets.to(self.device))
        return self.objective.normaliser.scaled(name, loss)

    def _outputs(self, batch: Batch) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Outputs of the heads on one pack."""
        with self.objective.precision.region():
            pack = batch.pack.to(self.device)
            if self.sharded is not None:
                outputs, self.zero = self.sharded.passed(lambda: self.model(pack, batch.reads))
            elif self.frozen is not None:
                outputs = self.model.above([self.frozen.states(batch.pack)], pack, batch.reads, self.frozen.layer)
            else:
                outputs = self.model(pack, batch.reads)
        return outputs

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
