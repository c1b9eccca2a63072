"""The gradient of a step: what the packs' losses, their weights and their order leave in `.grad`.

Balancing methods that need the gradient of each task get it by running the tasks one after the other: their sequences
are disjoint and there is no padding, so that costs no more products than running them together, and a task's gradient is
what its backward pass left in `.grad`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from manyheads.balance.base import combined, gramian
from manyheads.model import POOLED
from manyheads.training.lessons import annealed, loss_of
from manyheads.training.norms import head_norms, pulls, unweighted
from manyheads.training.sharded import is_sharded, local
from manyheads.training.team import ALONE, Team

if TYPE_CHECKING:
    from torch import nn

    from manyheads.balance.base import Balancer
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.training.adatask import Given
    from manyheads.training.anchor import Anchor
    from manyheads.training.batches import Batch
    from manyheads.training.frozen import Frozen
    from manyheads.training.losses import Normaliser
    from manyheads.training.parts import Part
    from manyheads.training.precision import Precision
    from manyheads.training.sharded import Sharded


class Gradients:
    """Computes the gradient of any step of a phase."""

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task[Any]],
        balancer: Balancer,
        normaliser: Normaliser,
        *,
        precision: Precision,
        seed: int,
        team: Team = ALONE,
    ) -> None:
        """`survey` must come first."""
        self.model = model
        self.tasks = tasks
        self.balancer = balancer
        self.normaliser = normaliser
        self.precision = precision
        self.seed = seed
        self.team = team
        self.sharded: Sharded | None = None
        """The layers, where processes have parts of them."""
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision.scaled)
        self.frozen: Frozen | None = None
        """Where the output of frozen layers comes from, when it is kept."""
        self.anchor: Anchor | None = None
        """What holds the encoder near to where it began."""
        self._anchored = 0.0
        self.steps = 1
        """Of the whole run, over which teachers give way to gold labels."""
        self._gold_weight = 0.0
        self.norms: dict[str, float] = {}
        """Of each task's gradient of its unweighted loss, in the last step, where the balancer wants them."""
        self.head_norms: dict[str, float] = {}
        """In norms mode the same at what its head reads."""
        self.pulls: dict[str, float] = {}
        """Of each task, where norms are known: that of its weighted gradient over the root of the sum of squares of all."""
        self.apart: Given = {}
        """In moments mode each task's gradient of what is shared, from all processes and without a loss scale."""
        self._last_layer: list[nn.Parameter] = []
        self._last_shared = 0
        self.shared: list[nn.Parameter] = []
        """What trains now for several tasks."""
        self._table: int | None = None
        """Which of them is the table of word embeddings: half of a small encoder, and all but a step's words is 0."""
        self.own: dict[str, list[nn.Parameter]] = {}
        """What trains now for each task alone."""
        self._learning: list[nn.Parameter] = []
        self._nothing = torch.zeros((), device=self.device)
        """What losses are added to; with divided layers, its gradient goes back through those of the last pass."""

    def survey(self, parts: Sequence[Part]) -> None:
        """Look which parameters train now: shared ones, and each task's own."""
        on = [(part, [p for p in part.parameters if p.requires_grad]) for part in parts]
        self.shared = [p for part, found in on for p in found if len(part.tasks) != 1]
        self.own = {name: [p for part, found in on for p in found if part.tasks == (name,)] for name in self.tasks}
        self._learning = [p for _, found in on for p in found] + self.balancer.parameters()
        words = getattr(self.model.encoder.model.get_input_embeddings(), "weight", None)
        alone = self.team.size == 1  # or the rows would be those of all processes' steps
        self._table = next((i for i, p in enumerate(self.shared) if p is words and alone), None)
        layers = [(part.layer, found) for part, found in on if part.place == "layer" and not part.tasks and found]
        top = max((layer for layer, _ in layers), default=-1)
        self._last_layer = [p for layer, found in layers for p in found if layer == top]
        self._last_shared = max(top, 0)

    def of(self, step: int, packs: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """Leave the step's gradient in `.grad`; the mean loss of each task, still on the device."""
        torch.manual_seed(step_seed(self.seed, step, self.team.rank))
        self.model.zero_grad(set_to_none=True)
        balancer = self.balancer
        totals = self.team.totals(_totals(packs), list(self.tasks))
        packs = self._evened(packs)
        sums = {name: torch.zeros((), device=self.device) for name in totals}
        present = list(sums)
        self.norms, self.head_norms, self.pulls = {}, {}, {}
        self._anchored = self.anchor.weight_at(step) if self.anchor is not None else 0.0
        self.model.pools = bool(self._anchored)
        self._gold_weight = annealed(step, self.steps)
        whole = False  # whether shared gradients are those of all processes already
        if balancer.mode == "losses":
            if not packs:  # other processes have some: what is shown is of this step
                balancer.weights(step, present)
            for pack in packs:
                weights = balancer.weights(step, present)
                self._backward(pack, totals, sums, weights)
        elif balancer.mode == "last-layer":
            self._observed(step, packs, totals, sums)
        elif balancer.mode == "moments":
            self._kept_apart(step, packs, totals, sums)
            whole = True
        elif balancer.mode == "norms":
            whole = self._normed(step, packs, totals, sums)
        else:
            self._combined(step, packs, totals, sums)
            whole = True
        penalty = balancer.penalty(present) if self.team.leads else None
        if penalty is not None:
            self.scaler.scale(penalty.to(self.device)).backward()  # type: ignore[no-untyped-call]
        done = {id(p) for p in self.shared} if whole else set()
        self.team.add_up_gradients([p for p in self._learning if id(p) not in done and not is_sharded(p)])
        return self._added_up(sums)

    def _added_up(self, sums: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The losses of all processes together."""
        if self.team.size == 1 or not sums:
            return dict(sums)
        return dict(zip(sums, self.team.add_up(torch.stack(list(sums.values()))).unbind(), strict=True))

    @torch.no_grad()
    def losses_again(self, step: int, packs: Sequence[Batch]) -> dict[str, float]:
        """The losses of the same packs, with the same dropout, after the update."""
        torch.manual_seed(step_seed(self.seed, step, self.team.rank))
        totals = self.team.totals(_totals(packs), list(self.tasks))
        sums = {name: torch.zeros((), device=self.device) for name in totals}
        for pack in self._evened(packs):
            for name, loss in self._losses(pack, totals).items():
                sums[name] += loss
        return {name: float(loss) for name, loss in self._added_up(sums).items()}

    def culprits(self, step: int, packs: Sequence[Batch]) -> tuple[str, ...]:
        """The tasks whose own gradient in a step is not finite. Leaves no gradient."""
        totals, found = _totals(packs), []
        packs = self._evened(packs)
        for name in (name for name in self.tasks if name in totals or self.sharded is not None):
            torch.manual_seed(step_seed(self.seed, step, self.team.rank))
            for pack in packs:
                losses = self._losses(pack, totals)
                loss = self._nothing + losses[name] if name in losses else self._nothing
                if loss.requires_grad:
                    loss.backward()  # type: ignore[no-untyped-call]
            gradients = [local(p.grad) for p in self.model.parameters() if p.grad is not None]
            if not all(bool(gradient.isfinite().all()) for gradient in gradients):
                found.append(name)
            self.model.zero_grad(set_to_none=True)
        return tuple(self.team.totals(dict.fromkeys(found, 1.0), list(self.tasks)))

    def _evened(self, packs: Sequence[Batch]) -> Sequence[Batch]:
        """As many packs in every process, where layers are divided."""
        return packs if self.sharded is None else self.sharded.evened(packs)

    def _losses(self, pack: Batch, totals: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """Each task's share of the step's mean loss."""
        with self.precision.region():
            if self.sharded is not None:
                whole = pack.pack.to(self.device)
                outputs, self._nothing = self.sharded.passed(lambda: self.model(whole, pack.reads))
            elif self.frozen is None:
                outputs = self.model(pack.pack.to(self.device), pack.reads)
            else:
                states = [self.frozen.states(pack.pack)]
                outputs = self.model.above(states, pack.pack.to(self.device), pack.reads, self.frozen.layer)
        return self._means(pack, totals, outputs)

    def _means(
        self, pack: Batch, totals: Mapping[str, float], outputs: Mapping[str, Mapping[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        """Losses of the outputs of one pack, in full precision, by their share of the step."""
        losses = {}
        for name, output in outputs.items():
            loss = loss_of(self.tasks[name], self.precision.full(output), pack, self._gold_weight,
                           partial(self.normaliser.scaled, name))  # fmt: skip
            if self.anchor is not None and self._anchored:
                loss = loss + self._anchored * self.anchor.loss(output[POOLED], pack.pack.part(*pack.reads[name]))
            losses[name] = loss * (pack.denominators[name] / (totals[name] or 1.0))
        return losses

    def _backward(
        self,
        pack: Batch,
        totals: Mapping[str, float],
        sums: dict[str, torch.Tensor],
        weights: Mapping[str, torch.Tensor],
    ) -> None:
        self._add(self._losses(pack, totals), sums, weights)

    def _add(
        self, losses: Mapping[str, torch.Tensor], sums: dict[str, torch.Tensor], weights: Mapping[str, torch.Tensor]
    ) -> None:
        """Note the losses, and go backward from their weighted sum."""
        total = self._nothing
        for name, loss in losses.items():
            sums[name] += loss.detach()
            total = total + weights[name].to(self.device, non_blocking=True) * loss
        if total.requires_grad:
            self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]

    def _observed(
        self, step: int, packs: Sequence[Batch], totals: Mapping[str, float], sums: dict[str, torch.Tensor]
    ) -> None:
        """The weighted sum of losses, with the norm of each task's gradient at the last shared layer.

        Up to that layer all tasks run together, forward and backward; that layer and what is above it runs task by task.
        """
        balancer, scale = self.balancer, self.scaler.get_scale()
        weights = balancer.weights(step, list(sums))
        grown: dict[str, list[torch.Tensor]] = {}
        for pack in packs:
            whole = pack.pack.to(self.device)
            with self.precision.region():
                states = self.model.below(whole, self._last_shared)
            cut: list[list[torch.Tensor]] = []
            for name, asked in pack.reads.items():
                before = [None if p.grad is None else p.grad.clone() for p in self._last_layer]
                leaves = [
                    whole.segments.cut(state, *asked).detach().requires_grad_(state.requires_grad) for state in states
                ]
                cut.append(leaves)
                part = replace(pack, pack=whole.part(*asked), reads={name: (0, asked[1] - asked[0])})
                with self.precision.region():
                    outputs = self.model.above(leaves, part.pack, part.reads, self._last_shared)
                self._add(self._means(part, totals, outputs), sums, weights)
                _grow(grown.setdefault(name, []), self._last_layer, before)
            _backward_below(states, cut)
        zeros = [torch.zeros_like(p) for p in self._last_layer]
        whole_grown = {name: self.team.add_up_all(grown.get(name) or zeros, self._last_layer) for name in sums}
        norms = {name: float(torch.stack([g.norm() for g in found if g is not None]).norm()) / scale if found else 0.0
                 for name, found in whole_grown.items()}  # fmt: skip
        self._note_norms(norms, {name: float(weight) for name, weight in weights.items()})

    def _note_norms(self, weighted: Mapping[str, float], weights: Mapping[str, float]) -> None:
        """What norms of weighted gradients say: those of the unweighted ones, and the pull of each task."""
        self.norms = unweighted(weighted, weights)
        self.pulls = pulls(weighted)

    def _normed(
        self, step: int, packs: Sequence[Batch], totals: Mapping[str, float], sums: dict[str, torch.Tensor]
    ) -> bool:
        """The weighted sum of losses, a task's own parameters with its static weight.

        In the steps for which the balancer wants norms the tasks run one after the other: then what is shared has the
        gradient of all processes already, and the answer is true.
        """
        weights = self.balancer.weights(step, list(sums))
        numbers = {name: float(weight) for name, weight in weights.items()}
        apart = bool(self.shared) and self.balancer.wants_norms(step, list(sums))
        with head_norms(self.model.heads) as squares:
            if apart:
                self._note_norms(self._added_apart(packs, totals, sums, weights), numbers)
            else:
                for pack in packs:
                    self._backward(pack, totals, sums, weights)
        if sums and self.shared:
            found = torch.stack([squares.get(name, torch.zeros_like(sums[name])) for name in sums])
            read = (self.team.add_up(found).sqrt() / self.scaler.get_scale()).tolist()
            self.head_norms = unweighted(dict(zip(sums, read, strict=True)), numbers)
        for name, weight in numbers.items():
            self._scale_own(name, self.balancer.static[name] / weight if weight else 1.0)
        return apart

    def _added_apart(
        self,
        packs: Sequence[Batch],
        totals: Mapping[str, float],
        sums: dict[str, torch.Tensor],
        weights: Mapping[str, torch.Tensor],
    ) -> dict[str, float]:
        """Task by task, what is shared left with the sum of all: the norm of each task's weighted gradient."""
        norms: dict[str, torch.Tensor] = {}
        total: list[torch.Tensor | None] = [None] * len(self.shared)
        for name, gradient in self._apart(packs, totals, sums, weights):
            norms[name] = torch.nn.utils.get_total_norm([g for g in gradient if g is not None]).to(self.device)
            total = [new if old is None else old if new is None else old.add_(new)
                     for old, new in zip(total, gradient, strict=True)]  # fmt: skip
        for parameter, sum_ in zip(self.shared, total, strict=True):
            parameter.grad = sum_
        read = (torch.stack(list(norms.values())) / self.scaler.get_scale()).tolist() if norms else []
        return dict(zip(norms, read, strict=True))

    def _kept_apart(
        self, step: int, packs: Sequence[Batch], totals: Mapping[str, float], sums: dict[str, torch.Tensor]
    ) -> None:
        """Task by task with static weights; `.grad` of what is shared is the sum, before a loss scale is taken out."""
        apart: dict[str, list[tuple[nn.Parameter, torch.Tensor]]] = {}
        total: list[torch.Tensor | None] = [None] * len(self.shared)
        for name, gradient in self._apart(packs, totals, sums, self.balancer.weights(step, list(sums))):
            total = [old if new is None else new.clone() if old is None else old.add_(new)
                     for old, new in zip(total, gradient, strict=True)]  # fmt: skip
            apart[name] = [(p, g.div_(self.scaler.get_scale())) if self.precision.scaled else (p, g)
                           for p, g in zip(self.shared, gradient, strict=True) if g is not None]  # fmt: skip
        for parameter, sum_ in zip(self.shared, total, strict=True):
            parameter.grad = sum_
        self.apart = apart

    def _apart(
        self,
        packs: Sequence[Batch],
        totals: Mapping[str, float],
        sums: dict[str, torch.Tensor],
        weights: Mapping[str, torch.Tensor],
    ) -> Iterator[tuple[str, list[torch.Tensor | None]]]:
        """Task by task, the gradient over what is shared, of all processes. It is not left in `.grad`."""
        for name in sums:
            for pack in packs:
                if name in pack.reads:
                    self._backward(_part(pack, name), totals, sums, weights)
            gradient = self.team.add_up_all([p.grad for p in self.shared], self.shared)
            for parameter in self.shared:
                parameter.grad = None
            yield name, gradient

    def _scale_own(self, name: str, factor: float) -> None:
        """Multiply the gradients of what a task alone trains."""
        for parameter in self.own[name]:
            if parameter.grad is not None and factor != 1.0:
                parameter.grad.mul_(factor)

    def _combined(
        self, step: int, packs: Sequence[Batch], totals: Mapping[str, float], sums: dict[str, torch.Tensor]
    ) -> None:
        """Task by task; the shared gradient is a weighted sum that depends on how the tasks' gradients lie."""
        present = list(sums)
        gradients: list[list[torch.Tensor | None]] = []
        static = self.balancer.weights(step, present)
        one = dict.fromkeys(present, torch.ones(()))
        for name, found in self._apart(packs, totals, sums, one):
            gradients.append(found)
            self._scale_own(name, float(static[name]))
        tables = [gradient[self._table] for gradient in gradients] if self._table is not None else []
        dense = next((table for table in tables if table is not None), None)
        if self._table is not None and dense is not None:
            rows = torch.unique(torch.cat([pack.pack.ids_T for pack in packs])).to(self.device)
            for gradient, table in zip(gradients, tables, strict=True):
                gradient[self._table] = None if table is None else table.index_select(0, rows)
        gram_KK = gramian(gradients)
        weights_K = self.balancer.combine(step, gram_KK, present)
        self.pulls = pulls(dict(zip(present, (weights_K.abs() * gram_KK.diagonal().sqrt()).tolist(), strict=True)))
        sums_P = combined(gradients, weights_K)
        if self._table is not None and dense is not None:
            sums_P[self._table] = dense.index_copy_(0, rows, cast("torch.Tensor", sums_P[self._table]))
        for parameter, sum_ in zip(self.shared, sums_P, strict=True):
            parameter.grad = sum_


def _part(pack: Batch, name: str) -> Batch:
    """What one task reads of a pack, as a pack."""
    if len(pack.reads) == 1:
        return pack
    first, stop = pack.reads[name]
    return replace(pack, pack=pack.pack.part(first, stop), reads={name: (0, stop - first)})


def _grow(grown: list[torch.Tensor], parameters: Sequence[nn.Parameter], before: Sequence[torch.Tensor | None]) -> None:
    """Add to `grown` what gradients have grown by since `before`."""
    pairs = [(p.grad, old) for p, old in zip(parameters, before, strict=True) if p.grad is not None]
    diffs = [new.clone() if old is None else new - old for new, old in pairs]
    if not grown:
        grown.extend(diffs)
        return
    for total, diff in zip(grown, diffs, strict=True):
        total.add_(diff)


def _backward_below(states: Sequence[torch.Tensor], cut: Sequence[Sequence[torch.Tensor]]) -> None:
    """Carry the gradients of the tasks' parts, which lie in the order of the pack, on to the states they were cut from.

    What is behind the last part, the tail of a pack, is read by no task and has a gradient of 0.
    """
    reached = [i for i, state in enumerate(states) if state.requires_grad]
    gradients = []
    for i in reached:
        parts = [_gradient(leaves[i]) for leaves in cut]
        tail = states[i].new_zeros(len(states[i]) - sum(map(len, parts)), *states[i].shape[1:])
        gradients.append(torch.cat([*parts, tail]))
    if reached:
        torch.autograd.backward([states[i] for i in reached], gradients)


def _gradient(leaf: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _totals(packs: Sequence[Batch]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for pack in packs:
        for name, denominator in pack.denominators.items():
            totals[name] = totals.get(name, 0.0) + denominator
    return totals


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of a step's dropout in a process: depends on nothing else, so any step can be repeated."""
    text = f"{seed}:{step}:{rank}" if rank else f"{seed}:{step}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
