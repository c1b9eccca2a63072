"""Linear layers for answering in bf16 on a CPU: weights rounded once, and laid out as the processor's products read them.

`torch.nn.functional.linear` has oneDNN lay out the weights anew in every call: 12 % of a pass of six rows, 14 % of one of a
single row. Decided here: oneDNN's own call with weights that are laid out already, GELU in the same call where a layer is
followed by one. The operators are torch's own, but documented nowhere: they are tried once on each layer, and where they are
missing or give something else, the layer is one of torch's with rounded weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.activations import GELUActivation

from manyheads.nn.encoder import PackedEncoder

TOKENS = 512
"""Rows of a product that oneDNN is to choose the layout for: a pass of the server under load."""
NEAR = 0.02
"""Of the largest output: twice what bf16 rounds."""


class LaidOut(nn.Module):
    """A linear layer in bf16, with or without GELU after it, for inputs of any floating type. It has no gradient."""

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        """Raises AttributeError or RuntimeError where torch has no such operators."""
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


def round_linears(encoder: nn.Module) -> None:
    """Round the weights of all linear layers of an encoder in place; they cannot be trained or saved any more.

    Layers that are laid out have no `weight`: only those of encoders without padding are, whose families read none directly.
    """
    lay_out = isinstance(encoder, PackedEncoder)
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Linear) or child.weight.dtype == torch.bfloat16:
                continue  # a layer that two encoders share is rounded with the first
            activation = getattr(parent, "intermediate_act_fn", None) if name == "dense" else None
            gelu = isinstance(activation, GELUActivation)
            laid_out = _laid_out(child, gelu=gelu) if lay_out else None
            if laid_out is None:
                child.to(torch.bfloat16)
                continue
            setattr(parent, name, laid_out)
            if gelu:
                parent.intermediate_act_fn = nn.Identity()


@torch.no_grad()
def _laid_out(linear: nn.Linear, *, gelu: bool) -> LaidOut | None:
    """None where the operators are missing or not what they were."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, linear.in_features, generator=draw)
    wanted = linear(x)
    if gelu:
        wanted = nn.functional.gelu(wanted)
    try:
        laid_out = LaidOut(linear, gelu=gelu)
        found = laid_out(x).float()
    except (AttributeError, RuntimeError, TypeError):
        return None
    near = NEAR * wanted.abs().max().clamp(min=1e-6)
    return laid_out if found.shape == wanted.shape and bool((found - wanted).abs().max() <= near) else None
