"""Attention over a pack: every sequence sees itself alone, and there is no padding to compute.

transformers' own models call whatever function is registered under their `attn_implementation`; ours is `PACK`, and it
learns where sequences begin from the `segments` keyword that the encoder passes down. Decided here:
- CPU: `scaled_dot_product_attention` on slices; neighbours of equal length go into one call, so a pack that is sorted by
  length (inference) needs few. No gather: slices are views.
- CUDA, half precision: `varlen_attn`, one kernel for the whole pack. It has no dropout on attention weights; dropout
  elsewhere is untouched.
- A sliding window (ModernBERT's local layers) lets i see j where |i - j| < window.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

if TYPE_CHECKING:
    from manyheads.text.pack import Segments

PACK = "manyheads_pack"
"""The name of the attention implementation."""


def pack_attention(  # noqa: PLR0913  the signature is that of transformers' attention functions
    module: torch.nn.Module,
    query_1HTD: torch.Tensor,
    key_1HTD: torch.Tensor,
    value_1HTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Segments,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a model of transformers over a pack; result `(1, T, H, D)`. The mask is ours to ignore."""
    if query_1HTD.is_cuda and query_1HTD.dtype in (torch.float16, torch.bfloat16):
        return _varlen(query_1HTD, key_1HTD, value_1HTD, segments, scaling, sliding_window), None
    parts, start = [], 0
    for length, run in groupby(segments.lengths):
        count = len(list(run))
        stop = start + count * length
        q, k, v = (_rows(x, start, stop, count) for x in (query_1HTD, key_1HTD, value_1HTD))
        mask_LL = _window_mask(length, sliding_window, q.device)
        part = scaled_dot_product_attention(q, k, v, attn_mask=mask_LL, dropout_p=dropout, scale=scaling)
        parts.append(part.transpose(1, 2).reshape(1, count * length, *part.shape[1::2]))
        start = stop
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)), None


def _rows(x_1HTD: torch.Tensor, start: int, stop: int, count: int) -> torch.Tensor:
    """Sequences of equal length as a batch `(count, H, L, D)`, a view."""
    part = x_1HTD[:, :, start:stop]
    if count == 1:
        return part
    return part[0].reshape(part.shape[1], count, -1, part.shape[3]).transpose(0, 1)


def _window_mask(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    if window is None or window >= length:
        return None
    position_L = torch.arange(length, device=device)
    return (position_L[:, None] - position_L[None, :]).abs() < window


def _varlen(
    query_1HTD: torch.Tensor,
    key_1HTD: torch.Tensor,
    value_1HTD: torch.Tensor,
    segments: Segments,
    scaling: float,
    sliding_window: int | None,
) -> torch.Tensor:
    """One flash kernel over the pack. `window_size` of n lets i see j where |i - j| <= n."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (x[0].transpose(0, 1) for x in (query_1HTD, key_1HTD, value_1HTD))
    reach = -1 if sliding_window is None else sliding_window - 1
    longest = segments.max_length
    bounds = segments.bounds_S1
    out = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=(reach, reach))
    assert isinstance(out, torch.Tensor)
    return out[None]


def _no_mask(*_: Any, **__: Any) -> None:
    """Sequences are kept apart by `segments`, so transformers need not build a mask of T times T."""


AttentionInterface.register(PACK, pack_attention)
AttentionMaskInterface.register(PACK, _no_mask)
