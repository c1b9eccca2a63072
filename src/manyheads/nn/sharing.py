"""Sharing an encoder between tasks: branches that own some weights, and learned mixes of layers.

A branch is a second encoder object that shares all parameters of the first but its own. This one mechanism serves private
upper layers (soft sharing, Caruana 1997), adapters of one task, and separate models; layers below the branch run only once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from manyheads.nn.encoder import Encoder


@dataclass(frozen=True, slots=True)
class Branch:
    """An encoder for some of the tasks. Below layer `start` it is the shared one."""

    name: str
    tasks: tuple[str, ...]
    start: int
    encoder: Encoder


def branched(encoder: Encoder, owned: Callable[[str], bool]) -> Encoder:
    """A second encoder with copies of the parameters that `owned` selects by name; it shares all others."""
    shared = {id(value): value for name, value in encoder.named_parameters() if not owned(name)}
    return copy.deepcopy(encoder, shared)


def branch_with(encoder: Encoder, own: Mapping[str, torch.Tensor]) -> Encoder:
    """A second encoder that has these parameters, by name, and shares all others."""
    made = branched(encoder, own.__contains__)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name in own:
                value.copy_(own[name])
    return made


def names_from_layer(encoder: Encoder, start: int) -> frozenset[str]:
    """Names of the parameters of layers from `start` up, and of everything that runs after or beside them.

    At 0 these are all parameters, embeddings included.
    """
    names = {id(value): name for name, value in encoder.named_parameters()}
    if start == 0:
        return frozenset(names.values())
    below = [encoder.embedding_module(), *encoder.layer_modules()[:start]]
    under = {id(value) for module in below for value in module.parameters()}
    return frozenset(name for key, name in names.items() if key not in under)


def own_parameters(branch: Encoder, encoder: Encoder) -> dict[str, nn.Parameter]:
    """Parameters of a branch that it does not share with the encoder."""
    shared = {id(value) for value in encoder.parameters()}
    return {name: value for name, value in branch.named_parameters() if id(value) not in shared}


class ScalarMix(nn.Module):
    """A learned mix of the embeddings and all layers: `gamma * sum_l softmax(w)_l hidden_l` (Peters et al. 2018).

    >>> mix = ScalarMix(2)
    >>> mix([torch.zeros(3, 4), torch.ones(3, 4)])[0].tolist()
    [0.5, 0.5, 0.5, 0.5]
    """

    def __init__(self, states: int) -> None:
        """`states`: number of hidden states, depth + 1. The mix starts as their plain mean."""
        super().__init__()
        self.weight_S = nn.Parameter(torch.zeros(states))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, hidden_TD: Sequence[torch.Tensor]) -> torch.Tensor:
        """The mix, `(T, D)`."""
        share_S = self.weight_S.softmax(0)
        mixed = share_S[0] * hidden_TD[0]
        for share, state_TD in zip(share_S[1:], hidden_TD[1:], strict=True):
            mixed = torch.addcmul(mixed, share, state_TD)
        return self.gamma * mixed


def groups_of(groups: Iterable[tuple[str, tuple[str, ...]]], tasks: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The named groups, and every other task as a group of its own.

    >>> groups_of([("pair", ("b", "c"))], ["a", "b", "c"])
    {'pair': ('b', 'c'), 'a': ('a',)}
    """
    named = dict(groups)
    inside = {task for members in named.values() for task in members}
    return {**named, **{task: (task,) for task in tasks if task not in inside}}
