"""What the tasks' gradients say of one another at one point of a run: they explain a comparison and decide nothing.

Decided here:
- The encoder's shared parts are put into groups from the bottom up (embeddings, pairs of layers). Of each group only inner
  products between the gradients of single batches are kept, so that no more is held than one group's gradients.
- A gradient of a batch is the task's gradient plus noise, and noise makes every cosine smaller. Products between different
  batches of one task are free of it, so they estimate the squared length of the gradient itself: the corrected cosine is
  <a, b> / sqrt(<a, a'> <b, b'>), all means over pairs of different batches (split halves, over all ways to split). Where
  a squared length comes out at or below 0 the gradient is all noise, and there is no cosine.
- Pull: the norm of a task's weighted gradient over the root of the sum of squares of all (training/norms.py).
- Affinity (Fifty et al. 2021, Efficiently Identifying Task Groupings): how much one real AdamW step on one task lowers the
  loss of another, relative to it.
- Dropout is off: it would be one more noise. Nothing is changed: weights and the state of the optimizer are put back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from manyheads.training.adatask import AdaTask
from manyheads.training.lessons import loss_of
from manyheads.training.norms import pulls

if TYPE_CHECKING:
    from manyheads.training.batches import Batch
    from manyheads.training.loop import Trainer
    from manyheads.training.parts import Part

BATCHES = 6
"""Of each task: 15 pairs of different ones."""
LAYERS_A_GROUP = 2


@dataclass(frozen=True, slots=True)
class Group:
    """Shared parameters that are looked at together."""

    name: str
    parameters: tuple[torch.nn.Parameter, ...]


def groups_of(parts: Sequence[Part]) -> list[Group]:
    """Shared parts of the encoder from the bottom up: embeddings, then layers two by two."""
    shared = [part for part in parts if not part.tasks and part.place != "head"]
    found = [Group("embeddings", tuple(p for part in shared if part.place == "embeddings" for p in part.parameters))]
    layers = sorted({part.layer for part in shared if part.place == "layer"})
    for start in range(0, len(layers), LAYERS_A_GROUP):
        own = layers[start : start + LAYERS_A_GROUP]
        name = f"layer {own[0] + 1}" if len(own) == 1 else f"layers {own[0] + 1}-{own[-1] + 1}"
        found.append(
            Group(
                name,
                tuple(p for part in shared if part.place == "layer" and part.layer in own for p in part.parameters),
            )
        )
    return [group for group in found if group.parameters]


def probe(trainer: Trainer, steps: Sequence[int], rate: float) -> dict[str, Any]:
    """Cosines, conflict rates and ratios of length for each pair of tasks and group, affinities of ordered pairs, and pulls.

    The batches are those of `steps` of the run, a task at a time; affinities are of a step at half of `rate`, the run's mean
    where it falls to 0. Tasks that no step has are left out.
    """
    packs = {name: found for name in trainer.tasks if len(found := _batches(trainer, name, steps)) > 1}
    groups = groups_of(trainer.parts)
    if len(packs) < 2 or not groups:
        return {}
    with _resting(trainer):
        products = _products(trainer, packs, groups)
        affinity = _affinities(trainer, packs, rate / 2)
    names = list(packs)
    return {
        "groups": [group.name for group in groups],
        "pairs": {f"{a}|{b}": _pair(products, names.index(a), names.index(b)) for a, b in combinations(names, 2)},
        "affinity": affinity,
        "pull": _pulls(trainer, products, names),
    }


def _pulls(trainer: Trainer, products: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """How fast each task moves what is shared, of its speed alone, by the weights last used.

    With the noise of single batches: AdamW's moments have it too.
    """
    balancer = trainer.making.balancer
    if balancer.mode == "moments":
        return dict.fromkeys(names, 1.0)
    weights = {**balancer.static, **balancer.shown()}
    squares = {name: sum(float(np.nanmean(np.diagonal(gram[k, :, k, :]))) for gram in products)
               for k, name in enumerate(names)}  # fmt: skip
    return pulls({name: abs(weights[name]) * square**0.5 for name, square in squares.items()})


def _batches(trainer: Trainer, name: str, steps: Sequence[int]) -> list[list[Batch]]:
    """The task's own packs of each step."""
    batcher = copy.copy(trainer.batcher)
    batcher.feeds = [feed for feed in batcher.feeds if feed.task.name == name]
    return [packs for step in steps if (packs := batcher.batch(step))]


@contextmanager
def _resting(trainer: Trainer) -> Iterator[None]:
    """No dropout, no gradient left behind."""
    trainer.model.eval()
    trainer.model.zero_grad(set_to_none=True)
    try:
        yield
    finally:
        trainer.model.zero_grad(set_to_none=True)


def _loss(trainer: Trainer, packs: Sequence[Batch]) -> torch.Tensor:
    """The mean loss of packs of one task, as in training but for its weight."""
    total = sum(denominator for pack in packs for denominator in pack.denominators.values()) or 1.0
    losses = []
    for pack in packs:
        with trainer.making.precision.region():
            outputs = trainer.model(pack.pack.to(trainer.device), pack.reads)
        for name, output in outputs.items():
            scaled = partial(trainer.making.normaliser.scaled, name)
            found = loss_of(trainer.tasks[name], trainer.making.precision.full(output), pack, 1.0, scaled)
            losses.append(found * (pack.denominators[name] / total))
    return torch.stack(losses).sum()


def _gradients(trainer: Trainer, packs: Sequence[Batch]) -> None:
    trainer.model.zero_grad(set_to_none=True)
    _loss(trainer, packs).backward()  # type: ignore[no-untyped-call]


def _products(
    trainer: Trainer, packs: Mapping[str, Sequence[Sequence[Batch]]], groups: Sequence[Group]
) -> list[np.ndarray]:
    """For each group the inner products (K, M, K, M) of the gradients of M batches of K tasks; NaN where there is none.

    Gradients are kept in half precision, which costs 0.4 % of each number and half of the memory.
    """
    most = max(map(len, packs.values()))
    kept: list[list[torch.Tensor]] = []
    places = [(k, m) for k, found in enumerate(packs.values()) for m in range(len(found))]
    for found in packs.values():
        for batch in found:
            _gradients(trainer, batch)
            kept.append([_flat(group).to(torch.bfloat16) for group in groups])
    result = []
    for number in range(len(groups)):
        rows = torch.stack([flats[number] for flats in kept])
        gram = torch.stack([rows.float() @ row.float() for row in rows]).double().cpu().numpy()
        whole = np.full((len(packs), most, len(packs), most), np.nan)
        for i, (k, m) in enumerate(places):
            for j, (other, n) in enumerate(places):
                whole[k, m, other, n] = gram[i, j]
        result.append(whole)
    return result


def _flat(group: Group) -> torch.Tensor:
    zeros = [torch.zeros_like(p) if p.grad is None else p.grad for p in group.parameters]
    return torch.cat([gradient.reshape(-1) for gradient in zeros])


def _pair(products: Sequence[np.ndarray], a: int, b: int) -> dict[str, list[float | None]]:
    """Of two tasks, for each group; None where a gradient is all noise."""
    found: dict[str, list[float | None]] = {"cosine": [], "conflict_rate": [], "magnitude_ratio": []}
    for gram in products:
        own_a, own_b, cross = _apart(gram[a, :, a, :]), _apart(gram[b, :, b, :]), gram[a, :, b, :]
        seen = ~np.isnan(cross)
        there = own_a > 0 and own_b > 0
        found["cosine"].append(float(np.clip(cross[seen].mean() / (own_a * own_b) ** 0.5, -1, 1)) if there else None)
        found["conflict_rate"].append(float((cross[seen] < 0).mean()))
        found["magnitude_ratio"].append(float((own_a / own_b) ** 0.5) if there else None)
    return found


def _apart(gram_MM: np.ndarray) -> float:
    """The mean product of two different batches: the squared length of what they have in common."""
    off = ~np.eye(len(gram_MM), dtype=bool) & ~np.isnan(gram_MM)
    return float(gram_MM[off].mean())


def _affinities(trainer: Trainer, packs: Mapping[str, Sequence[Sequence[Batch]]], rate: float) -> dict[str, float]:
    """`a->b`: the part of b's loss on a held-out batch that a step on a takes away, mean over batches."""
    optimizer = trainer.making.optimizer
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in parameters]
    state = copy.deepcopy(optimizer.state_dict())
    found: dict[str, float] = {}
    held = {name: batches[-1] for name, batches in packs.items()}
    with torch.no_grad():
        start = {name: float(_loss(trainer, batch)) for name, batch in held.items()}
    for name, batches in packs.items():
        gains: dict[str, list[float]] = {other: [] for other in held}
        for batch in batches[:-1]:
            _gradients(trainer, batch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            if isinstance(optimizer, AdaTask):
                optimizer.given = {name: [(p, p.grad) for p in trainer.gradients.shared if p.grad is not None]}
            optimizer.step()
            with torch.no_grad():
                for other, packs_of in held.items():
                    gains[other].append(1 - float(_loss(trainer, packs_of)) / (start[other] or 1.0))
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
            optimizer.load_state_dict(copy.deepcopy(state))
        found |= {f"{name}->{other}": float(np.mean(values)) for other, values in gains.items() if values}
    return found
