"""What the modes of balancing get: a step and the parameters that train; and what they report."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from manyheads.training.adatask import TaskGradients
from manyheads.training.batch import Batch
from manyheads.training.parts import Part


@dataclass(frozen=True, slots=True)
class Step:
    """The packs of a step in this process, and its losses so far."""

    number: int
    packs: Sequence[Batch]
    totals: Mapping[str, float]
    """What each task's mean loss divides by, over all packs and processes."""
    losses: dict[str, torch.Tensor]
    """This process's share of each task's mean loss, summed pack by pack."""

    @property
    def tasks(self) -> list[str]:
        """The tasks of the step, in any process."""
        return list(self.losses)


@dataclass(frozen=True, slots=True)
class Observed:
    """What a step shows of the tasks' gradients, beside the sum that it leaves in `.grad`."""

    norms: Mapping[str, float] = field(default_factory=dict)
    """Of each task's unweighted gradient, at the shared parameters (last-layer mode: at the last shared layer)."""
    head_norms: Mapping[str, float] = field(default_factory=dict)
    """The same at the hidden states that its head reads, in norms mode."""
    pulls: Mapping[str, float] = field(default_factory=dict)
    """How fast each task moves the shared parameters (`pulls` in `norms.py`)."""
    by_task: TaskGradients = field(default_factory=dict)
    """Each task's gradient of the shared parameters, over all processes and without a loss scale, in moments mode."""
    shared_summed: bool = False
    """Whether the gradients of shared parameters are summed over all processes already."""


@dataclass(frozen=True, slots=True)
class ActiveParameters:
    """The parameters that require a gradient now."""

    shared: list[nn.Parameter] = field(default_factory=list)
    """Those of several tasks."""
    own: dict[str, list[nn.Parameter]] = field(default_factory=dict)
    """Those of each task alone."""
    all: list[nn.Parameter] = field(default_factory=list)
    last_layer: list[nn.Parameter] = field(default_factory=list)
    """Those of the topmost layer that all tasks share."""
    last_shared: int = 0
    """The index of that layer."""
    word_table: int | None = None
    """Position in `shared` of the word embeddings: half of a small encoder, with a gradient of 0 but for a step's words."""


def active_parameters(parts: Sequence[Part], tasks: Collection[str], words: nn.Parameter | None) -> ActiveParameters:
    """Those of `parts`. `words`: the word embeddings, where only the rows of a step's tokens can have a gradient."""
    on = [(part, [p for p in part.parameters if p.requires_grad]) for part in parts]
    shared = [p for part, found in on for p in found if len(part.tasks) != 1]
    layers = [(part.layer, found) for part, found in on if part.place == "layer" and not part.tasks and found]
    top = max((layer for layer, _ in layers), default=-1)
    return ActiveParameters(
        shared=shared,
        own={name: [p for part, found in on for p in found if part.tasks == (name,)] for name in tasks},
        all=[p for _, found in on for p in found],
        last_layer=[p for layer, found in layers for p in found if layer == top],
        last_shared=max(top, 0),
        word_table=next((i for i, p in enumerate(shared) if p is words), None),
    )
