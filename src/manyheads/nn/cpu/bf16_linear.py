"""Linear layers for answering in bf16 on a CPU: weights rounded once and kept in the layout that the processor reads.

`torch.nn.functional.linear` has oneDNN reorder the weights in every call: 12 % of a pass of six rows, 14 % of one of a single
row. Decided here: call oneDNN's own operator with reordered weights, with GELU in the same call where one follows the layer.
The operators are part of torch but undocumented, so each layer tries them once; where they are missing or give another
result, it is one of torch's with rounded weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from manyheads.nn.families import PACKED, is_gelu

TOKENS = 512
"""Rows of the product that oneDNN chooses the layout for: a pass of the server under load."""
NEAR = 0.02
"""Allowed difference, as a share of the largest output: twice the rounding of bf16."""


class BF16Linear(nn.Module):
    """A linear layer in bf16, with or without GELU after it, for inputs of any floating type. It has no gradient."""

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        """Raises AttributeError or RuntimeError where torch lacks the operators."""
        super().__init__()
        ops: Any = torch.ops.mkldnn
        self._weight = ops._reorder_linear_weight(linear.weight.detach().to(torch.bfloat16), TOKENS)
        self._bias = None if linear.bias is None else linear.bias.detach().to(torch.bfloat16)
        self._run = ops._linear_pointwise.default
        self._after = "gelu" if gelu else "none"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(..., in)` to `(..., out)`, bf16."""
        out: torch.Tensor = self._run(x.to(torch.bfloat16), self._weight, self._bias, self._after, [], "none")
        return out


def use_bf16_linears(encoder: Any) -> None:
    """Round the weights of an encoder's linear layers in place; it cannot be trained or saved any more.

    A `BF16Linear` has no `weight`. Only encoders without padding get them, as none of their families reads a weight directly.
    """
    packed = encoder.config.model_type in PACKED
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Linear) or child.weight.dtype == torch.bfloat16:
                continue  # a layer that two encoders share was rounded with the first
            activation = getattr(parent, "intermediate_act_fn", None) if name == "dense" else None
            gelu = is_gelu(activation)
            linear = _tried(child, gelu=gelu) if packed else None
            if linear is None:
                child.to(torch.bfloat16)
                continue
            setattr(parent, name, linear)
            if gelu:
                parent.intermediate_act_fn = nn.Identity()


@torch.no_grad()
def _tried(linear: nn.Linear, *, gelu: bool) -> BF16Linear | None:
    """None where the operators are missing or give another result."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, linear.in_features, generator=draw)
    wanted = linear(x)
    if gelu:
        wanted = nn.functional.gelu(wanted)
    try:
        tried = BF16Linear(linear, gelu=gelu)
        found = tried(x).float()
    except (AttributeError, RuntimeError, TypeError):
        return None
    near = NEAR * wanted.abs().max().clamp(min=1e-6)
    return tried if found.shape == wanted.shape and bool((found - wanted).abs().max() <= near) else None
