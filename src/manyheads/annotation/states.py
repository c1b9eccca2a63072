"""The hidden states that labels are judged by: those of the last layers side by side.

Decided here: four layers, the best feature-based use of BERT on CoNLL-2003 (Devlin et al. 2019, table 7). A frozen last layer
alone has lost much of what boundaries and labels of words need; see docs/annotation.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from manyheads.nn.encoder import Encoder
    from manyheads.text.pack import Pack

LAYERS = 4


def states_width(encoder: Encoder) -> int:
    """Width of the states of `layer_states`."""
    return min(LAYERS, encoder.depth) * encoder.width


def layer_states(encoder: Encoder, device: torch.device) -> Callable[[Pack], torch.Tensor]:
    """A function from a pack on the CPU to the states of the last `LAYERS` layers, `(T, LAYERS * D)`, also on the CPU."""

    def states(pack: Pack) -> torch.Tensor:
        moved = pack.to(device)
        embedded_TD = encoder.embed(moved)
        layers = encoder.states(embedded_TD, moved, 0, encoder.depth)
        return torch.cat([layer_TD.float().cpu() for layer_TD in layers[-LAYERS:]], -1)

    return states
