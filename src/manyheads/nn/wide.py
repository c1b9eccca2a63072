"""Numbers wide enough for sums and logarithms."""

from __future__ import annotations

import torch


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """In float32 at least: halves become float32, and float64 stays what it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
