"""Pools the hidden states of a pack into one vector per sequence.

Decided here: the mean is a sum by `index_add` over a length. Measured forward and backward on one core for 4,096 tokens of
width 384: index_add 1.1 ms, embedding_bag 1.2, segment_reduce 3, one mean per sequence 3, padding first 4, a matrix
product 5, differences of cumulative sums 24 and ten times less precise. Of the two fastest, index_add has second
derivatives, and its gradient is a plain gather. On CUDA it adds atomically: the last bit may differ between runs unless
`torch.use_deterministic_algorithms` is on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from manyheads.nn.at_least_float32 import at_least_float32

if TYPE_CHECKING:
    from manyheads.text.pack import Segments

Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Stands in for `Segments` in an exported graph, where sequences are rows padded to one length.

    Hidden states are then those of the rectangle laid flat, `(S * L, D)`, padding included.
    """

    mask_SL: torch.Tensor
    """1 for tokens, 0 for the padding at the end of a row."""

    def cut(self, values_TX: torch.Tensor, first: int, stop: int) -> torch.Tensor:
        """All rows: heads in a graph read everything."""
        return values_TX

    def part(self, first: int, stop: int) -> Rows:
        """All rows."""
        return self


def pool(hidden_TD: torch.Tensor, segments: Segments | Rows, pooling: Pooling) -> torch.Tensor:
    """`mean_pool` or `cls_pool`, `(S, D)`. Raises ValueError for another name.

    >>> from manyheads.text.pack import Segments
    >>> pool(torch.tensor([[1.0], [3.0], [5.0]]), Segments.of([2, 1]), "mean").tolist()
    [[2.0], [5.0]]
    """
    if isinstance(segments, Rows):
        return _pool_rows(hidden_TD, segments, pooling)
    if pooling == "mean":
        return mean_pool(hidden_TD, segments)
    if pooling == "cls":
        return cls_pool(hidden_TD, segments)
    raise ValueError(f"pooling must be mean or cls, not {pooling!r}")


def mean_pool(hidden_TD: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Mean over all tokens of each sequence, special tokens included, as in sentence-transformers: `(S, D)`.

    Summed in float32 at least, returned in the type of the hidden states. Nothing waits for a device.
    """
    length_S = segments.bounds_S1.diff()
    index_S = torch.arange(len(segments), device=hidden_TD.device)
    # Without its output size repeat_interleave waits for the device.
    sequence_T = torch.repeat_interleave(index_S, length_S, output_size=len(hidden_TD))
    wide_TD = at_least_float32(hidden_TD)
    sum_SD = wide_TD.new_zeros(len(segments), hidden_TD.shape[1]).index_add(0, sequence_T, wide_TD)
    return (sum_SD / length_S[:, None]).to(hidden_TD.dtype)


def cls_pool(hidden_TD: torch.Tensor, segments: Segments) -> torch.Tensor:
    """The first token of each sequence, `(S, D)`."""
    return hidden_TD.index_select(0, segments.bounds_S1[:-1])


def _pool_rows(hidden_TD: torch.Tensor, rows: Rows, pooling: Pooling) -> torch.Tensor:
    """`pool` of a rectangle laid flat."""
    hidden_SLD = hidden_TD.view(*rows.mask_SL.shape, hidden_TD.shape[1])
    if pooling == "cls":
        return hidden_SLD[:, 0]
    weight_SL1 = rows.mask_SL[..., None].to(hidden_TD.dtype)
    return (hidden_SLD * weight_SL1).sum(1) / weight_SL1.sum(1)
