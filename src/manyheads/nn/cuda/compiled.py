"""Layers through torch.compile, for long runs of training on CUDA.

Decided here:
- One layer is compiled, and all layers of a class share the result: the wait at the start does not grow with depth.
- Only packs of a steady shape are compiled (`STEADY` in `text/pack.py`: their tail reduces many shapes to a few), and only
  with gradients. Everything else, evaluation and packs of parts of a step, runs uncompiled: each of its shapes would be
  compiled anew.
- Attention stays outside, called between the compiled halves of a layer. It is one kernel already, and the only part that
  sees what changes from step to step (number and lengths of sequences), so no guard depends on that. Hence no `fullgraph`.
- A layer keeps its modules, parameters and names; only its `forward` is replaced. A copy of the layer runs the copy's own
  modules.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from manyheads.nn.encoder import PackedEncoder, pack_attention
from manyheads.text.pack import STEADY

if TYPE_CHECKING:
    from manyheads.nn.encoder import Encoder

    Backend = str | Callable[..., Any]

UNCOMPILED = "manyheads_pack_uncompiled"
"""`pack_attention` hidden from the compiler."""
VARIANTS = 32
"""Compiled forms of a layer: shapes, times modes (frozen or not), times kinds (ModernBERT has three). torch allows 8."""


def can_compile() -> bool:
    """Whether this machine can compile for its CUDA device: Triton, and a C compiler for its launchers."""
    from torch.utils._triton import has_triton

    return bool(has_triton()) and any(map(shutil.which, ("gcc", "clang", "cc")))


def compile_layers(encoder: Encoder, backend: Backend = "inductor") -> int:
    """Have the layers of an encoder compiled at their first steady pack, in place; returns their number.

    0 for an encoder that pads, whose shapes are never steady. Layers with gradient checkpointing are left alone.
    """
    if not isinstance(encoder, PackedEncoder):
        return 0
    import torch._dynamo

    limit = torch._dynamo.config
    limit.recompile_limit = max(limit.recompile_limit, VARIANTS)
    _register()
    layers: list[Any] = [
        layer for layer in encoder.layer_modules() if not getattr(layer, "gradient_checkpointing", False)
    ]
    encoder.config._attn_implementation = UNCOMPILED
    for layer in layers:
        kind: Any = type(layer)
        layer.forward = MethodType(_dispatching(kind, backend), layer)
    return len(layers)


@cache
def _dispatching(kind: Any, backend: Backend) -> Callable[..., Any]:
    """The `forward` of a class of layers, compiled where that pays."""
    plain: Callable[..., Any] = kind.forward
    compiled = torch.compile(plain, backend=backend, dynamic=False)

    def forward(self: torch.nn.Module, hidden_1TD: torch.Tensor, *args: Any, **more: Any) -> Any:
        steady = torch.is_grad_enabled() and hidden_1TD.shape[-2] % STEADY == 0
        return (compiled if steady else plain)(self, hidden_1TD, *args, **more)

    return forward


@cache
def _register() -> None:
    AttentionInterface.register(UNCOMPILED, torch.compiler.disable(pack_attention))  # type: ignore[no-untyped-call]
    AttentionMaskInterface.register(UNCOMPILED, lambda *_, **__: None)
