"""Attention over a pack without a CPU's tricks: a kernel that knows packs, and a padded rectangle where there is none.

- CUDA, half precision: `varlen_attn`, one kernel for the whole pack. It has NO dropout on attention weights; the other
  dropouts of the model are untouched.
- Anything else (CUDA in float32, before Ampere, torch 2.10): a padded rectangle, inside the attention only.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import torch
from torch.nn.functional import scaled_dot_product_attention

from manyheads.nn.cpu.attention import QKV, window_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from manyheads.text.pack import Segments

FLASH_HEAD_WIDTHS = range(8, 257, 8)


def rectangle(segments: Segments, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Place of each token in a padded rectangle laid flat, and the mask (S, L) of real tokens. Nothing waits for a device."""
    tokens, longest = sum(segments.lengths), segments.max_length
    bounds_S1 = segments.bounds_S1.to(device).long()
    shift_S = torch.arange(len(segments), device=device) * longest - bounds_S1[:-1]
    shift_T = shift_S.repeat_interleave(bounds_S1.diff(), output_size=tokens)
    mask_SL = torch.arange(longest, device=device) < bounds_S1.diff()[:, None]
    return shift_T + torch.arange(tokens, device=device), mask_SL


def attend_padded(qkv: QKV, segments: Segments, scaling: float, dropout: float, window: int | None) -> torch.Tensor:
    """Attention `(T, H, D)` through a padded rectangle."""
    device = qkv[0].device
    place_T, mask_SL = rectangle(segments, device)

    def rows(x_THD: torch.Tensor) -> torch.Tensor:
        full = x_THD.new_zeros((mask_SL.numel(), *x_THD.shape[1:])).index_copy(0, place_T, x_THD)
        return full.view(*mask_SL.shape, *x_THD.shape[1:]).transpose(1, 2)

    mask = mask_SL[:, None, None, :]
    near_LL = window_mask(segments.max_length, window, device)
    if near_LL is not None:
        # Padding sees itself: a row that sees nothing has gradients of nan.
        mask = (mask & near_LL) | torch.eye(segments.max_length, dtype=torch.bool, device=device)
    query, key, value = map(rows, qkv)
    out_SHLD = scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
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


def can_attend_varlen(query_THD: torch.Tensor) -> bool:
    """Whether `varlen_attn` takes this: half precision, Ampere or later, a head width that flash attention has."""
    return (
        query_THD.is_cuda
        and query_THD.dtype in (torch.float16, torch.bfloat16)
        and query_THD.shape[-1] in FLASH_HEAD_WIDTHS
        and torch.cuda.get_device_capability(query_THD.device) >= (8, 0)
        and torch.backends.cuda.is_flash_attention_available()
        and _varlen() is not None
    )


def attend_varlen(qkv: QKV, segments: Segments, scaling: float, window: int | None) -> torch.Tensor:
    """Attention `(T, H, D)` in one kernel, where `can_attend_varlen`."""
    varlen_attn = _varlen()
    assert varlen_attn is not None, "can_attend_varlen was not asked"
    longest, bounds_S1 = segments.bound_length, segments.bounds_S1
    reach = -1 if window is None else window - 1  # a `window_size` of n lets i see j where |i - j| <= n
    return varlen_attn(*qkv, bounds_S1, bounds_S1, longest, longest, scale=scaling, window_size=(reach, reach))
