"""Attention over a pack on a CPU: one call for each run of neighbours of equal length (`length_order.py`).

Decided here:
- Tensors are divided by `split`, whose gradient is one `cat`. Slices would each have a gradient of the size of the pack:
  with 150 sentences that alone took 8 times the rest of the attention.
- Without gradients, keys and values are read past the end of a sequence, up to a multiple of 16 tokens, and masked there.
  The kernel takes a remainder of 16 token by token: 127 tokens took 522 us, 128 take 325 (bf16: 459 and 199).
- With dropout on attention weights `scaled_dot_product_attention` has no fast path, so its three steps are written out,
  with a mask of 16 random bits per element (torch's costs 15 times as much).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import scaled_dot_product_attention

from manyheads.nn.cpu.dropout import dropout_mask
from manyheads.nn.cpu.length_order import equal_lengths

if TYPE_CHECKING:
    from manyheads.text.pack import Segments

QKV = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Query, key and value of a pack, `(T, H, D)` each."""
LANES = 16
"""Keys that the kernel takes at once."""
FEW_OVER = 3
"""A remainder of up to this many keys costs less than a mask does."""


def attend_by_length(qkv: QKV, segments: Segments, scaling: float, dropout: float, window: int | None) -> torch.Tensor:
    """Attention `(T, H, D)` of each sequence to itself."""
    query_THD, key_THD, value_THD = qkv
    plan = equal_lengths(segments.lengths)
    sizes = [length * count for length, count in plan]
    if dropout:
        query_THD, value_THD = query_THD * scaling, value_THD * (1 / (1 - dropout))
    near_LL = window_mask(segments.max_length, window, query_THD.device)
    parts, start = [], 0
    learns = query_THD.requires_grad or key_THD.requires_grad or value_THD.requires_grad
    divided = (x_THD.split_with_sizes(sizes) for x_THD in (query_THD, key_THD, value_THD))
    for (length, count), *rows in zip(plan, *divided, strict=True):
        q, k, v = (x.view(count, length, *x.shape[1:]).transpose(1, 2) for x in rows)
        # The corner of a band is the band of a shorter sequence.
        mask_LL = None if near_LL is None or length <= (window or 0) else near_LL[:length, :length]
        if mask_LL is None and not dropout and not learns and length % LANES > FEW_OVER:
            k, v = (_with_lanes_full(x_THD, start, length, count) for x_THD in (key_THD, value_THD))
            mask_LL = _own_keys(length, k.dtype)
        start += count * length
        if dropout:
            out = _with_dropout(q, k, v, mask_LL, dropout)
        else:
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask_LL, scale=scaling)
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def window_mask(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """The band |i - j| < window of a square `(L, L)`; None where it covers the square."""
    if window is None or window >= length:
        return None
    position_L = torch.arange(length, device=device)
    return (position_L[:, None] - position_L[None, :]).abs() < window


def _round_up(length: int) -> int:
    return -(-length // LANES) * LANES


def _with_lanes_full(x_THD: torch.Tensor, start: int, length: int, count: int) -> torch.Tensor:
    """`count` sequences from `start`, each read up to a multiple of `LANES`: `(S, H, W, D)`, a view where there is room."""
    stop, over = start + count * length, _round_up(length) - length
    if stop + over > len(x_THD):
        x_THD, start = torch.nn.functional.pad(x_THD[start:stop], (0, 0, 0, 0, 0, over)), 0
    token, head, one = x_THD.stride()
    size = (count, x_THD.shape[1], length + over, x_THD.shape[2])
    return x_THD.as_strided(size, (length * token, head, token, one), x_THD.storage_offset() + start * token)


@lru_cache(maxsize=1024)
def _own_keys(length: int, dtype: torch.dtype) -> torch.Tensor:
    """Hides what `_with_lanes_full` read past a sequence."""
    mask_1W = torch.zeros(1, _round_up(length), dtype=dtype)
    mask_1W[:, length:] = float("-inf")
    return mask_1W


def _with_dropout(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask_LL: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    """Attention with dropout on its weights, all tensors `(S, H, L, D)`; query and value are scaled already.

    Never in half precision: oneDNN compiles products in bf16 for each length, which took longer than the products.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):
        scores = query.to(wide) @ key.to(wide).transpose(-1, -2)
        if mask_LL is not None:
            scores = scores.masked_fill(~mask_LL, float("-inf"))
        return ((scores.softmax(-1) * dropout_mask(tuple(scores.shape), dropout)) @ value.to(wide)).to(value.dtype)
