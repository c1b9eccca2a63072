"""The gradient of a loss that compares all examples of a step, though its packs fit into memory one at a time.

Gao et al. 2021 (GradCache): the packs are first run without a graph, which leaves the outputs of the head alone. The loss of
all outputs together gives their gradient. Then each pack is run again, and goes backward from the products of its outputs and
that gradient. The gradient equals that of the whole batch, memory is that of one pack, and the encoder runs forward twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from manyheads.tasks.base import Output
from manyheads.training.batch import Batch


@dataclass(frozen=True, slots=True, eq=False)
class StandIn:
    """The loss of a pack as a linear function of its outputs, with the value and the gradient of the loss of all packs."""

    batch: Batch
    seed: int
    """Of the pack's dropout, in both runs."""
    gradients: Mapping[str, torch.Tensor]
    value: torch.Tensor
    factor: float
    """1 over the pack's share of the examples, by which its loss will be multiplied."""

    def __call__(self, output: Output) -> torch.Tensor:
        """The loss, 0-dim."""
        product = torch.stack([(output[key] * gradient).sum() for key, gradient in self.gradients.items()]).sum()
        return self.value + self.factor * (product - product.detach())


def stand_ins(
    packs: Sequence[Batch], seed: int, run: Callable[[Batch], Output], loss: Callable[[Batch, Output], torch.Tensor]
) -> dict[int, StandIn]:
    """The stand-in of each pack that holds a part of a contrast, by the id of the pack.

    `run`: outputs of the one head that reads a pack, in full precision. `loss`: that of all examples, from their outputs.
    """
    groups: dict[int, list[Batch]] = {}
    for batch in packs:
        if batch.contrast is not None:
            groups.setdefault(id(batch.contrast), []).append(batch)
    found: dict[int, StandIn] = {}
    for parts in groups.values():
        outputs = []
        for number, batch in enumerate(parts):
            torch.manual_seed(seed + 1 + number)
            with torch.no_grad():
                outputs.append(run(batch))
        with torch.enable_grad():
            whole = {key: torch.cat([output[key] for output in outputs]).requires_grad_() for key in outputs[0]}
            value = loss(parts[0], whole)
            gradients = dict(zip(whole, torch.autograd.grad(value, list(whole.values())), strict=True))
        bounds = {key: [0, *torch.tensor([len(o[key]) for o in outputs]).cumsum(0).tolist()] for key in whole}
        for number, batch in enumerate(parts):
            own = {key: gradients[key][slice(*list(pairwise(bounds[key]))[number])] for key in whole}
            share = sum(batch.denominators.values()) / (batch.contrast.denominator if batch.contrast else 1.0)
            found[id(batch)] = StandIn(batch, seed + 1 + number, own, value.detach(), 1 / share if share else 0.0)
    return found
