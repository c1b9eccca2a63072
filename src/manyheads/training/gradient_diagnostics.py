"""How the tasks' gradients relate at one point of a run: numbers that explain a comparison and decide nothing.

Decided here:
- The encoder's shared parts are grouped from the bottom up (embeddings, pairs of layers). For each group only the inner
  products between gradients of single batches are kept, so no more is held than one group's gradients.
- The gradient of a batch is the task's gradient plus noise, and noise shrinks every cosine. Products between different
  batches of one task are free of it, so they estimate the squared length of the gradient itself: the corrected cosine is
  <a, b> / sqrt(<a, a'> <b, b'>), all means over pairs of different batches (split halves, over all ways to split). Where
  a squared length comes out at or below 0 the gradient is all noise, and there is no cosine.
- Pull: the norm of a task's weighted gradient over the root of the sum of squares of all (`pulls` in `gradients/norms.py`).
- Affinity (Fifty et al. 2021, Efficiently Identifying Task Groupings): how much one real AdamW step on one task lowers the
  loss of another, relative to it.
- Dropout is off, as it adds noise. Nothing is changed: weights and the state of the optimizer are restored.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch

from manyheads.training.adatask import AdaTask
from manyheads.training.batches import StepBatch
from manyheads.training.gradients.norms import pulls
from manyheads.training.loop import Trainer
from manyheads.training.parts import Part

BATCHES = 6
"""Of each task: 15 pairs of different ones."""
LAYERS_PER_GROUP = 2


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
    for start in range(0, len(layers), LAYERS_PER_GROUP):
        some = layers[start : start + LAYERS_PER_GROUP]
        name = f"layer {some[0] + 1}" if len(some) == 1 else f"layers {some[0] + 1}-{some[-1] + 1}"
        parameters = (p for part in shared if part.place == "layer" and part.layer in some for p in part.parameters)
        found.append(Group(name, tuple(parameters)))
    return [group for group in found if group.parameters]


def diagnose(trainer: Trainer, steps: Sequence[int], rate: float) -> dict[str, Any]:
    """Cosines, conflict rates and length ratios for each pair of tasks and group, affinities of ordered pairs, and pulls.

    The batches are those of `steps` of the run, one task at a time; tasks that no step has are left out. Affinities are of a
    step at half of `rate`, the run's mean rate where it falls to 0.
    """
    batches = {name: found for name in trainer.tasks if len(found := _batches(trainer, name, steps)) > 1}
    groups = groups_of(trainer.parts)
    if len(batches) < 2 or not groups:
        return {}
    with _without_dropout(trainer):
        products = _products(trainer, batches, groups)
        affinity = _affinities(trainer, batches, rate / 2)
    names = list(batches)
    return {
        "groups": [group.name for group in groups],
        "pairs": {f"{a}|{b}": _pair(products, names.index(a), names.index(b)) for a, b in combinations(names, 2)},
        "affinity": affinity,
        "pull": _pulls(trainer, products, names),
    }


def _pulls(trainer: Trainer, products: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """How fast each task moves the shared parameters, relative to training alone, with the weights last used.

    The noise of single batches is included: AdamW's moments have it too.
    """
    balancer = trainer.components.balancer
    if balancer.mode == "moments":
        return dict.fromkeys(names, 1.0)
    weights = {**balancer.static, **balancer.shown()}
    squares = {name: sum(float(np.nanmean(np.diagonal(gram[k, :, k, :]))) for gram in products)
               for k, name in enumerate(names)}  # fmt: skip
    return pulls({name: abs(weights[name]) * square**0.5 for name, square in squares.items()})


def _batches(trainer: Trainer, name: str, steps: Sequence[int]) -> list[StepBatch]:
    """The packs of one task in each step that has some."""
    batcher = copy.copy(trainer.batcher)
    batcher.feeds = [feed for feed in batcher.feeds if feed.task.name == name]
    return [batch for step in steps if (batch := batcher.batch(step))]


@contextmanager
def _without_dropout(trainer: Trainer) -> Iterator[None]:
    """No dropout; no gradient is left behind."""
    trainer.model.eval()
    trainer.model.zero_grad(set_to_none=True)
    try:
        yield
    finally:
        trainer.model.zero_grad(set_to_none=True)


def _loss(trainer: Trainer, packs: StepBatch) -> torch.Tensor:
    """The unweighted mean loss of packs of one task, as at the end of the run."""
    objective = trainer.gradients.objective
    [name] = packs[0].denominators
    totals = {name: sum(batch.denominators[name] for batch in packs)}
    losses: list[torch.Tensor] = []
    for batch in packs:
        with objective.precision.region():
            outputs = trainer.model(batch.pack.to(trainer.device), batch.reads)
        losses += objective.losses(outputs, batch, totals, objective.steps).values()
    return torch.stack(losses).sum()


def _backward(trainer: Trainer, packs: StepBatch) -> None:
    """Leave the gradient of `_loss` in `.grad`."""
    trainer.model.zero_grad(set_to_none=True)
    _loss(trainer, packs).backward()  # type: ignore[no-untyped-call]


def _products(
    trainer: Trainer, batches: Mapping[str, Sequence[StepBatch]], groups: Sequence[Group]
) -> list[np.ndarray]:
    """For each group the inner products (K, M, K, M) of the gradients of M batches of K tasks; NaN for missing batches.

    Gradients are kept in half precision, which costs 0.4 % of each number and halves the memory.
    """
    most = max(map(len, batches.values()))
    kept: list[list[torch.Tensor]] = []
    places = [(k, m) for k, found in enumerate(batches.values()) for m in range(len(found))]
    for found in batches.values():
        for packs in found:
            _backward(trainer, packs)
            kept.append([_flat(group).to(torch.bfloat16) for group in groups])
    result = []
    for number in range(len(groups)):
        rows = torch.stack([flats[number] for flats in kept])
        gram = torch.stack([rows.float() @ row.float() for row in rows]).double().cpu().numpy()
        whole = np.full((len(batches), most, len(batches), most), np.nan)
        for i, (k, m) in enumerate(places):
            for j, (other, n) in enumerate(places):
                whole[k, m, other, n] = gram[i, j]
        result.append(whole)
    return result


def _flat(group: Group) -> torch.Tensor:
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group.parameters]
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


def _pair(products: Sequence[np.ndarray], a: int, b: int) -> dict[str, list[float | None]]:
    """The figures of two tasks, for each group; None where a gradient is all noise."""
    found: dict[str, list[float | None]] = {"cosine": [], "conflict_rate": [], "magnitude_ratio": []}
    for gram in products:
        own_a, own_b, cross = _squared_length(gram[a, :, a, :]), _squared_length(gram[b, :, b, :]), gram[a, :, b, :]
        seen = ~np.isnan(cross)
        signal = own_a > 0 and own_b > 0
        found["cosine"].append(float(np.clip(cross[seen].mean() / (own_a * own_b) ** 0.5, -1, 1)) if signal else None)
        found["conflict_rate"].append(float((cross[seen] < 0).mean()))
        found["magnitude_ratio"].append(float((own_a / own_b) ** 0.5) if signal else None)
    return found


def _squared_length(gram_MM: np.ndarray) -> float:
    """The mean product of two different batches: the squared length of what they have in common."""
    off = ~np.eye(len(gram_MM), dtype=bool) & ~np.isnan(gram_MM)
    return float(gram_MM[off].mean())


def _affinities(trainer: Trainer, batches: Mapping[str, Sequence[StepBatch]], rate: float) -> dict[str, float]:
    """`a->b`: the share of b's loss on a held-out batch that a step on a removes, mean over batches."""
    optimizer = trainer.components.optimizer
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in parameters]
    state = copy.deepcopy(optimizer.state_dict())
    found: dict[str, float] = {}
    held_out = {name: some[-1] for name, some in batches.items()}
    with torch.no_grad():
        start = {name: float(_loss(trainer, packs)) for name, packs in held_out.items()}
    for name, some in batches.items():
        gains: dict[str, list[float]] = {other: [] for other in held_out}
        for packs in some[:-1]:
            _backward(trainer, packs)
            for group in optimizer.param_groups:
                group["lr"] = rate
            if isinstance(optimizer, AdaTask):
                shared = trainer.gradients.active.shared
                optimizer.by_task = {name: [(p, p.grad) for p in shared if p.grad is not None]}
            optimizer.step()
            with torch.no_grad():
                for other, others in held_out.items():
                    gains[other].append(1 - float(_loss(trainer, others)) / (start[other] or 1.0))
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
            optimizer.load_state_dict(copy.deepcopy(state))
        found |= {f"{name}->{other}": float(np.mean(values)) for other, values in gains.items() if values}
    return found
