"""The gradient of a step, left in `.grad`: the packs' losses, weighted as the balancer's mode says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch

from manyheads.balance.base import Balancer, Mode
from manyheads.model import MultiTaskModel
from manyheads.training.batch import Batch
from manyheads.training.distributed.sharded import is_sharded, local
from manyheads.training.distributed.team import ALONE, Team
from manyheads.training.gradients.gramian import combined_gradients
from manyheads.training.gradients.last_layer import last_layer_norms
from manyheads.training.gradients.moments import kept_by_task
from manyheads.training.gradients.observed_norms import with_norms
from manyheads.training.gradients.passes import Passes
from manyheads.training.gradients.step import ActiveParameters, Observed, Step, active_parameters
from manyheads.training.losses import Objective
from manyheads.training.parts import Part


def weighted_sum(passes: Passes, step: Step, active: ActiveParameters, balancer: Balancer) -> Observed:
    """Losses mode: the gradient of the weighted sum of losses."""
    if not step.packs:  # other processes have some, and the weights shown must be those of this step
        balancer.weights(step.number, step.tasks)
    for batch in step.packs:
        passes.backward(batch, step, balancer.weights(step.number, step.tasks))
    return Observed()


MODES: dict[Mode, Callable[[Passes, Step, ActiveParameters, Balancer], Observed]] = {
    "losses": weighted_sum,
    "norms": with_norms,
    "last-layer": last_layer_norms,
    "gramian": combined_gradients,
    "moments": kept_by_task,
}


class Gradients:
    """Computes the gradient of any step of a phase."""

    def __init__(
        self, model: MultiTaskModel, objective: Objective, balancer: Balancer, *, seed: int, team: Team = ALONE
    ) -> None:
        """`survey` must come first."""
        self.model = model
        self.objective = objective
        self.balancer = balancer
        self.seed = seed
        self.team = team
        self.passes = Passes(model, objective, team)
        self.active = ActiveParameters()
        self.observed = Observed()
        """Of the last step."""

    def survey(self, parts: Sequence[Part]) -> None:
        """Find the parameters that train now."""
        words = getattr(self.model.encoder.model.get_input_embeddings(), "weight", None)
        one = self.team.size == 1  # in several processes, a step's rows of the table are not those of its own packs
        self.active = active_parameters(parts, self.objective.tasks, words if one else None)

    def of(self, step: int, packs: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """Leave the step's gradient in `.grad`; returns the mean loss of each task, still on the device."""
        self._seed(step)
        self.model.zero_grad(set_to_none=True)
        self.observed = Observed()
        this = self._step(step, packs)
        self._compare(step, this.packs)
        self.observed = MODES[self.balancer.mode](self.passes, this, self.active, self.balancer)
        penalty = self.balancer.penalty(this.tasks) if self.team.leads else None
        if penalty is not None:
            self.passes.scaler.scale(penalty.to(self.passes.device)).backward()  # type: ignore[no-untyped-call]
        done = {id(p) for p in self.active.shared} if self.observed.shared_summed else set()
        learning = [*self.active.all, *self.balancer.parameters()]
        self.team.sum_gradients([p for p in learning if id(p) not in done and not is_sharded(p)])
        return self._summed(this.losses)

    @torch.no_grad()
    def losses_again(self, step: int, packs: Sequence[Batch]) -> dict[str, float]:
        """The losses of the same packs, with the same dropout, after the update."""
        self._seed(step)
        this = self._step(step, packs)
        self._compare(step, this.packs)
        for batch in this.packs:
            for name, loss in self.passes.losses(batch, step, this.totals).items():
                this.losses[name] += loss
        return {name: float(loss) for name, loss in self._summed(this.losses).items()}

    def culprits(self, step: int, packs: Sequence[Batch]) -> tuple[str, ...]:
        """The tasks whose own gradient in a step is not finite. Leaves no gradient."""
        totals, found, tasks = _totals(packs), [], list(self.objective.tasks)
        packs = self._evened(packs)
        for name in (name for name in tasks if name in totals or self.passes.sharded is not None):
            self._seed(step)
            for batch in packs:
                losses = self.passes.losses(batch, step, totals)
                loss = self.passes.zero + losses[name] if name in losses else self.passes.zero
                if loss.requires_grad:
                    loss.backward()  # type: ignore[no-untyped-call]
            gradients = [local(p.grad) for p in self.model.parameters() if p.grad is not None]
            if not all(bool(gradient.isfinite().all()) for gradient in gradients):
                found.append(name)
            self.model.zero_grad(set_to_none=True)
        return tuple(self.team.totals(dict.fromkeys(found, 1.0), tasks))

    def clear(self) -> None:
        """Drop all gradients, those of learned loss weights too."""
        self.observed = Observed()
        self.model.zero_grad(set_to_none=True)
        for parameter in self.balancer.parameters():
            parameter.grad = None

    def _seed(self, step: int) -> None:
        torch.manual_seed(step_seed(self.seed, step, self.team.rank))
        self.model.pools = self.objective.anchor_weight(step) > 0

    def _compare(self, step: int, packs: Sequence[Batch]) -> None:
        """Prepare losses over several packs, and seed again. Not with divided layers: all processes make as many passes."""
        if self.passes.sharded is None:
            self.passes.compare(packs, step_seed(self.seed, step, self.team.rank) >> 1)
            self._seed(step)

    def _step(self, step: int, packs: Sequence[Batch]) -> Step:
        totals = self.team.totals(_totals(packs), list(self.objective.tasks))
        losses = {name: torch.zeros((), device=self.passes.device) for name in totals}
        return Step(step, self._evened(packs), totals, losses)

    def _evened(self, packs: Sequence[Batch]) -> Sequence[Batch]:
        """As many packs in every process, where layers are divided."""
        return packs if self.passes.sharded is None else self.passes.sharded.evened(packs, Batch.idle)

    def _summed(self, losses: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The losses of all processes together."""
        if self.team.size == 1 or not losses:
            return dict(losses)
        return dict(zip(losses, self.team.sum(torch.stack(list(losses.values()))).unbind(), strict=True))


def _totals(packs: Sequence[Batch]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for batch in packs:
        for name, denominator in batch.denominators.items():
            totals[name] = totals.get(name, 0.0) + denominator
    return totals


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of a step's dropout in a process: it depends on nothing else, so any step can be repeated."""
    text = f"{seed}:{step}:{rank}" if rank else f"{seed}:{step}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
