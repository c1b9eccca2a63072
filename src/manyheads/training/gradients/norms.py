"""Norms of the tasks' gradients at what their heads read, and the pull of each task that follows from norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def head_norms(heads: nn.ModuleDict) -> Iterator[dict[str, Tensor]]:
    """A context in which backward passes fill a dictionary: the squared norm of each task's gradient at what its head reads.

    Each head reads its own rows of the hidden states, so one backward pass of all tasks gives the norm of each. A head whose
    input needs no gradient is left out.
    """
    squares: dict[str, Tensor] = {}

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(gradient: Tensor) -> None:
            square = gradient.detach().float().square().sum()
            squares[name] = squares[name] + square if name in squares else square

        def watch(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs[0].requires_grad:
                inputs[0].register_hook(note)

        return watch

    handles = [head.register_forward_pre_hook(hook_of(name)) for name, head in heads.items()]
    try:
        yield squares
    finally:
        for handle in handles:
            handle.remove()


def unweighted(norms: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Norms of weighted gradients, divided by their weights; 0 for a weight of 0, where nothing is known.

    >>> unweighted({"ner": 3.0, "pairs": 0.0}, {"ner": 1.5, "pairs": 0.0})
    {'ner': 2.0, 'pairs': 0.0}
    """
    return {name: norm / weights[name] if weights[name] else 0.0 for name, norm in norms.items()}


def pulls(norms: Mapping[str, float]) -> dict[str, float]:
    """How fast each task moves the shared parameters, relative to AdamW's step for it alone: `n_k / sqrt(sum_j n_j^2)`.

    `norms`: of the tasks' weighted gradients, which are taken as uncorrelated. Empty where all are 0 or one is not finite.

    >>> pulls({"ner": 3.0, "pairs": 4.0})
    {'ner': 0.6, 'pairs': 0.8}
    """
    whole = math.hypot(*norms.values())
    return {name: norm / whole for name, norm in norms.items()} if 0 < whole < math.inf else {}
