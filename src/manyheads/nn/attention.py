"""Attention over a pack: every sequence sees itself alone, and there is no padding to compute.

transformers' own models call whatever function is registered under their `attn_implementation`; ours is `PACK`, and it
learns where sequences begin from the `segments` keyword that the encoder passes down. Decided here:
- CPU: one call for each run of neighbours of equal length (the encoder sorts a pack so that equal lengths are
  neighbours). Tensors are divided by `split`, whose gradient is one `cat`; slices would each have a gradient of the
  size of the pack: with 150 sentences that alone took 8 times the rest of the attention.
- CPU, without gradients: keys and values are read on into what follows, up to a multiple of 16 tokens, behind a mask. The
  kernel takes what is left over of 16 one by one: 127 tokens took 522 us, 128 take 325 (bf16: 459 and 199).
- CPU, training with dropout on attention weights: `scaled_dot_product_attention` has no fast path, so the three steps
  are written out, with a dropout mask from 16 random bits an element (torch's costs 15 times as much).
- CUDA, half precision: `varlen_attn`, one kernel for the whole pack. It has NO dropout on attention weights; the other
  dropouts of the model are untouched.
- Anything else (CUDA in float32, before Ampere, torch 2.10): a padded rectangle, inside the attention only.
- A sliding window (ModernBERT's local layers) lets i see j where |i - j| < window.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from manyheads.nn.dropout import kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from manyheads.text.pack import Segments

PACK = "manyheads_pack"
"""The name of the attention implementation."""
FLASH_HEAD_WIDTHS = range(8, 257, 8)
LANES = 16
"""Keys that the kernel for CPUs takes at once."""
FEW_OVER = 3
"""So many over a multiple of `LANES` cost less one by one than a mask does."""


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
    """Attention of a model of transformers over a pack; result `(1, T, H, D)`. The mask is ours to ignore.

    `dropout` is that of this call: transformers passes 0 in evaluation.
    """
    query_THD, key_THD, value_THD = (x[0].transpose(0, 1) for x in (query_1HTD, key_1HTD, value_1HTD))
    if query_1HTD.device.type == "cpu":
        out_THD = _by_length(query_THD, key_THD, value_THD, segments, scaling, dropout, sliding_window)
    elif _flash_serves(query_THD):
        out_THD = _flash(query_THD, key_THD, value_THD, segments, scaling, sliding_window)
    else:
        out_THD = _padded(query_THD, key_THD, value_THD, segments, scaling, dropout, sliding_window)
    return out_THD[None], None


@lru_cache(maxsize=4)
def runs(lengths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Neighbours of equal length: (length, how many)."""
    return tuple((length, len(list(run))) for length, run in groupby(lengths))


def rectangle(segments: Segments, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each token stands in a padded rectangle, flattened; and the mask (S, L) of real tokens. No device waits."""
    tokens, longest = sum(segments.lengths), segments.max_length
    bounds_S1 = segments.bounds_S1.to(device).long()
    shift_S = torch.arange(len(segments), device=device) * longest - bounds_S1[:-1]
    shift_T = shift_S.repeat_interleave(bounds_S1.diff(), output_size=tokens)
    mask_SL = torch.arange(longest, device=device) < bounds_S1.diff()[:, None]
    return shift_T + torch.arange(tokens, device=device), mask_SL


def _by_length(
    query_THD: torch.Tensor,
    key_THD: torch.Tensor,
    value_THD: torch.Tensor,
    segments: Segments,
    scaling: float,
    dropout: float,
    window: int | None,
) -> torch.Tensor:
    plan = runs(segments.lengths)
    sizes = [length * count for length, count in plan]
    if dropout:
        query_THD, value_THD = query_THD * scaling, value_THD * (1 / (1 - dropout))
    near_LL = _near(segments.max_length, window, query_THD.device)
    parts, start = [], 0
    learns = query_THD.requires_grad or key_THD.requires_grad or value_THD.requires_grad
    divided = (x_THD.split_with_sizes(sizes) for x_THD in (query_THD, key_THD, value_THD))
    for (length, count), *rows in zip(plan, *divided, strict=True):
        q, k, v = (x.view(count, length, *x.shape[1:]).transpose(1, 2) for x in rows)
        # The corner of a band is the band of a shorter sequence.
        mask_LL = None if near_LL is None or length <= (window or 0) else near_LL[:length, :length]
        if mask_LL is None and not dropout and not learns and length % LANES > FEW_OVER:
            k, v = (_read_on(x_THD, start, length, count) for x_THD in (key_THD, value_THD))
            mask_LL = _own(length, k.dtype)
        start += count * length
        if dropout:
            out = _dropped(q, k, v, mask_LL, dropout)
        else:
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask_LL, scale=scaling)
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _wide(length: int) -> int:
    return -(-length // LANES) * LANES


def _read_on(x_THD: torch.Tensor, start: int, length: int, count: int) -> torch.Tensor:
    """`count` sequences from `start` on, each up to a multiple of `LANES`: `(S, H, W, D)`, a view where there is room."""
    stop, over = start + count * length, _wide(length) - length
    if stop + over > len(x_THD):
        x_THD, start = torch.nn.functional.pad(x_THD[start:stop], (0, 0, 0, 0, 0, over)), 0
    token, head, one = x_THD.stride()
    size = (count, x_THD.shape[1], length + over, x_THD.shape[2])
    return x_THD.as_strided(size, (length * token, head, token, one), x_THD.storage_offset() + start * token)


@lru_cache(maxsize=1024)
def _own(length: int, dtype: torch.dtype) -> torch.Tensor:
    """Hides what `_read_on` read beyond a sequence."""
    mask_1W = torch.zeros(1, _wide(length), dtype=dtype)
    mask_1W[:, length:] = float("-inf")
    return mask_1W


def _dropped(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask_LL: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    """Attention with dropout on its weights; query and value are scaled already. All `(S, H, L, D)`, on a CPU.

    Never in half precision: oneDNN compiles products in bf16 for each length, which took longer than they did.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):
        scores = query.to(wide) @ key.to(wide).transpose(-1, -2)
        if mask_LL is not None:
            scores = scores.masked_fill(~mask_LL, float("-inf"))
        return ((scores.softmax(-1) * kept(tuple(scores.shape), dropout)) @ value.to(wide)).to(value.dtype)


def _near(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """The band |i - j| < window of a square, None where it covers the square."""
    if window is None or window >= length:
        return None
    position_L = torch.arange(length, device=device)
    return (position_L[:, None] - position_L[None, :]).abs() < window


def _padded(
    query_THD: torch.Tensor,
    key_THD: torch.Tensor,
    value_THD: torch.Tensor,
    segments: Segments,
    scaling: float,
    dropout: float,
    window: int | None,
) -> torch.Tensor:
    place_T, mask_SL = rectangle(segments, query_THD.device)

    def rows(x_THD: torch.Tensor) -> torch.Tensor:
        full = x_THD.new_zeros((mask_SL.numel(), *x_THD.shape[1:])).index_copy(0, place_T, x_THD)
        return full.view(*mask_SL.shape, *x_THD.shape[1:]).transpose(1, 2)

    mask = mask_SL[:, None, None, :]
    near_LL = _near(segments.max_length, window, query_THD.device)
    if near_LL is not None:
        # The padding sees itself: a row that sees nothing has gradients that are not numbers.
        mask = (mask & near_LL) | torch.eye(segments.max_length, dtype=torch.bool, device=mask.device)
    out_SHLD = scaled_dot_product_attention(
        rows(query_THD), rows(key_THD), rows(value_THD), attn_mask=mask, dropout_p=dropout, scale=scaling
    )
    return out_SHLD.transpose(1, 2).flatten(0, 1).index_select(0, place_T)


@lru_cache(maxsize=1)
def _varlen() -> Callable[..., torch.Tensor] | None:
    """torch's attention over packs; None before torch 2.11, where it has neither scale nor window."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    if {"scale", "window_size"} <= set(inspect.signature(varlen_attn).parameters):
        return cast("Callable[..., torch.Tensor]", varlen_attn)
    return None


def _flash_serves(query_THD: torch.Tensor) -> bool:
    """Whether `varlen_attn` runs on these: half precision, Ampere or later, a width of heads that flash attention has."""
    return (
        query_THD.is_cuda
        and query_THD.dtype in (torch.float16, torch.bfloat16)
        and query_THD.shape[-1] in FLASH_HEAD_WIDTHS
        and torch.cuda.get_device_capability(query_THD.device) >= (8, 0)
        and torch.backends.cuda.is_flash_attention_available()
        and _varlen() is not None
    )


def _flash(
    query_THD: torch.Tensor,
    key_THD: torch.Tensor,
    value_THD: torch.Tensor,
    segments: Segments,
    scaling: float,
    window: int | None,
) -> torch.Tensor:
    """One kernel over the pack. Its `window_size` of n lets i see j where |i - j| <= n."""
    varlen_attn = _varlen()
    assert varlen_attn is not None, "_flash_serves was asked first"
    reach, longest, bounds_S1 = -1 if window is None else window - 1, segments.bound_length, segments.bounds_S1
    return varlen_attn(
        query_THD, key_THD, value_THD, bounds_S1, bounds_S1, longest, longest, scale=scaling, window_size=(reach, reach)
    )


def _no_mask(*_: Any, **__: Any) -> None:
    """Sequences are kept apart by `segments`, so transformers need not build a mask of T times T."""


AttentionInterface.register(PACK, pack_attention)
AttentionMaskInterface.register(PACK, _no_mask)
