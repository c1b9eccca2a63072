"""The model: one encoder and a head for each task. One encoder pass answers every head that is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from manyheads.text.pack import Pack, Segments

if TYPE_CHECKING:
    import torch

    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.base import Task

Reads = Mapping[str, tuple[int, int]]
"""For each task that is asked, the range of sequences (first, one past the last) that its head reads."""


class MultiTaskModel(nn.Module):
    """An encoder with named heads."""

    def __init__(self, encoder: Encoder, tasks: Mapping[str, Task[Any]]) -> None:
        """Heads are built by their tasks, initialised from torch's generator in the order of `tasks`."""
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({name: task.build_head(encoder.width) for name, task in tasks.items()})

    def forward(self, pack: Pack, reads: Reads) -> dict[str, dict[str, torch.Tensor]]:
        """Outputs of the heads in `reads`, each on its own sequences, from one encoder pass."""
        hidden_TD = self.encoder(pack)
        return {name: self.heads[name](*part_of(hidden_TD, pack.segments, *reads[name])) for name in reads}


def part_of(hidden_TD: torch.Tensor, segments: Segments, first: int, stop: int) -> tuple[torch.Tensor, Segments]:
    """The hidden states and segments of sequences `first` to `stop - 1`, without a copy."""
    lengths = segments.lengths
    if first == 0 and stop == len(lengths):
        return hidden_TD, segments
    start = sum(lengths[:first])
    end = start + sum(lengths[first:stop])
    return hidden_TD[start:end], Segments(lengths[first:stop], segments.bounds_S1[first : stop + 1] - start)
