"""Norms of the tasks' gradients: at what their heads read, and what norms say of how fast tasks move what they share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


@contextmanager
def head_norms(heads: nn.ModuleDict) -> Iterator[dict[str, Tensor]]:
    """A context in which backward passes fill a dictionary: by task, the squared norm of the gradient at what its head reads.

    Each head reads rows of its own of the hidden states, so one backward pass of all tasks tells them apart. A head whose
    input needs no gradient is left out.
    """
    squares: dict[str, Tensor] = {}

    def watched(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(gradient: Tensor) -> None:
            square = gradient.detach().float().square().sum()
            squares[name] = squares[name] + square if name in squares else square

        def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs[0].requires_grad:
                inputs[0].register_hook(note)

        return look

    handles = [head.register_forward_pre_hook(watched(name)) for name, head in heads.items()]
    try:
        yield squares
    finally:
        for handle in handles:
            handle.remove()


def unweighted(norms: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Norms of weighted gradients before their weights; 0 under a weight of 0, where nothing is known."""
    return {name: norm / weights[name] if weights[name] else 0.0 for name, norm in norms.items()}


def pulls(norms: Mapping[str, float]) -> dict[str, float]:
    """How fast each task moves what is shared, against AdamW's step for it alone: `r_k = n_k / sqrt(sum_j n_j^2)`.

    `norms`: of the tasks' weighted gradients, taken as uncorrelated. Empty where they are all 0 or not finite.
    """
    whole = math.hypot(*norms.values())
    return {name: norm / whole for name, norm in norms.items()} if 0 < whole < math.inf else {}
