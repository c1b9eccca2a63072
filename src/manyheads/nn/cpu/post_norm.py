"""A training step through a layer of BERT, RoBERTa, ELECTRA or DistilBERT, by hand, for the CPU in float32.

These layers normalize after each half ("post-norm"). Query, key and value are one product, biases and activations work in
place, sequences of similar length share their products, and nothing is computed or copied that no gradient needs. Results
are equal to rounding, at 1.15 times the speed of autograd through transformers' modules (docs/benchmarks.md). For
answering it gained nothing (docs/decisions.md). Anything else (adapters, hooks, autocast, checkpointing, other activations)
goes through the stock modules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from manyheads.nn.cpu.dropout import Dropout, dropout_mask
from manyheads.nn.cpu.length_buckets import Attended, LengthBuckets, attend, attend_backward, length_buckets
from manyheads.nn.families import is_gelu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyheads.text.pack import Segments

A: Any = torch.ops.aten


@dataclass(frozen=True, slots=True, eq=False)
class PostNormLayer:
    """The modules of one layer, under one name for all families."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear
    norm: nn.LayerNorm
    up: nn.Linear
    down: nn.Linear
    last_norm: nn.LayerNorm
    heads: int
    dropouts: tuple[float, float, float]
    """On attention weights, after `out` and after `down`; 0 in evaluation."""

    @property
    def scaling(self) -> float:
        """Factor of the attention scores."""
        return 1 / math.sqrt(self.query.out_features // self.heads)

    def parameters(self) -> tuple[torch.Tensor, ...]:
        """Weights and biases in the order of the fields."""
        modules = (self.query, self.key, self.value, self.out, self.norm, self.up, self.down, self.last_norm)
        return tuple(p for module in modules for p in (module.weight, module.bias))

    def run(self, hidden_TD: torch.Tensor, segments: Segments) -> torch.Tensor:
        """Hidden states `(T, D)` after the layer."""
        return _Trained.apply(hidden_TD, self, segments.lengths, *self.parameters())  # type: ignore[no-untyped-call]


def by_hand(layer: nn.Module, hidden: torch.Tensor) -> PostNormLayer | None:
    """The layer as one to run by hand; None where its own modules must run, or no gradient needs it."""
    return read_layer(layer) if _is_plain(hidden) and _trains(layer, hidden) else None


def _is_plain(hidden: torch.Tensor) -> bool:
    """Whether this is float32 on a CPU, without autocast or tracing."""
    return (
        hidden.device.type == "cpu"
        and hidden.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _trains(layer: nn.Module, hidden: torch.Tensor) -> bool:
    """Whether a gradient goes into the layer or through it, or would if gradients were on: dropout must be the same then."""
    if not (torch.is_grad_enabled() or layer.training):
        return False
    return hidden.requires_grad or any(parameter.requires_grad for parameter in layer.parameters())


def read_layer(layer: nn.Module) -> PostNormLayer | None:
    """The modules of a layer of transformers; None for another kind, or where something was put into it or around it."""
    found = _bert(layer) or _distilbert(layer)
    if found is None or any(_altered(module) for module in layer.modules()):
        return None
    linear = (found.query, found.key, found.value, found.out, found.up, found.down)
    plain = all(type(m) is nn.Linear and m.bias is not None and m.weight.dtype == torch.float32 for m in linear)
    norms = all(type(m) is nn.LayerNorm and m.bias is not None for m in (found.norm, found.last_norm))
    checkpointed = getattr(layer, "gradient_checkpointing", False) and layer.training
    return found if plain and norms and not checkpointed else None


def _altered(module: nn.Module) -> bool:
    """Whether a module has hooks, or is a dropout of another class or one that drops everything."""
    if isinstance(module, nn.Dropout) and (type(module) not in (nn.Dropout, Dropout) or module.p >= 1):
        return True
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _bert(layer: Any) -> PostNormLayer | None:
    try:
        inner, first, up, last = layer.attention.self, layer.attention.output, layer.intermediate, layer.output
        plain = is_gelu(up.intermediate_act_fn) and not hasattr(layer, "crossattention")
        return PostNormLayer(
            inner.query, inner.key, inner.value, first.dense, first.LayerNorm, up.dense, last.dense, last.LayerNorm,
            inner.num_attention_heads, (_p(inner.dropout), _p(first.dropout), _p(last.dropout)),
        ) if plain else None  # fmt: skip
    except AttributeError:
        return None


def _distilbert(layer: Any) -> PostNormLayer | None:
    try:
        inner, wide = layer.attention, layer.ffn
        return PostNormLayer(
            inner.q_lin, inner.k_lin, inner.v_lin, inner.out_lin, layer.sa_layer_norm, wide.lin1, wide.lin2,
            layer.output_layer_norm, inner.n_heads, (_p(inner.dropout), 0.0, _p(wide.dropout)),
        ) if is_gelu(wide.activation) else None  # fmt: skip
    except AttributeError:
        return None


def _p(dropout: nn.Dropout | Dropout) -> float:
    return dropout.p if dropout.training else 0.0


def _fused(layer: PostNormLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of query, key and value in one: a copy each time, as a stored one could become stale."""
    parts = (layer.query, layer.key, layer.value)
    return torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])


class _Trained(torch.autograd.Function):
    """The layer with dropout and a gradient."""

    @staticmethod
    def forward(
        ctx: Any, hidden_TD: torch.Tensor, layer: PostNormLayer, lengths: tuple[int, ...], *parameters: torch.Tensor
    ) -> torch.Tensor:
        p, p_out, p_down = layer.dropouts
        places = length_buckets(lengths, layer.heads)
        weight, bias = _fused(layer)
        qkv = torch.mm(hidden_TD, weight.t()).add_(bias)
        masks = dropout_mask((places.scores,), p) if p else None
        seen_TX, attended = attend(qkv, places, layer.scaling, masks, p)
        first, first_mask = _joined(torch.mm(seen_TX, layer.out.weight.t()).add_(layer.out.bias), hidden_TD, p_out)
        half_TD, *first_figures = _norm_of(first, layer.norm)
        wide = torch.mm(half_TD, layer.up.weight.t()).add_(layer.up.bias)
        active = A.gelu(wide)
        last, last_mask = _joined(torch.mm(active, layer.down.weight.t()).add_(layer.down.bias), half_TD, p_down)
        out_TD, *last_figures = _norm_of(last, layer.last_norm)
        ctx.layer, ctx.places = layer, places
        ctx.save_for_backward(
            hidden_TD, attended.rows_3RE, attended.weights, attended.kept, seen_TX, first, first_mask, *first_figures,
            half_TD, wide, active, last, last_mask, *last_figures, *parameters,
        )  # fmt: skip
        return out_TD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_TD: torch.Tensor) -> tuple[Any, ...]:
        layer: PostNormLayer = ctx.layer
        places: LengthBuckets = ctx.places
        (
            hidden_TD, rows_3RE, weights, masks, seen_TX, first, first_mask, first_mean, first_scale,
            half_TD, wide, active, last, last_mask, last_mean, last_scale, *parameters,
        ) = ctx.saved_tensors  # fmt: skip
        wanted = dict(zip(("qw", "qb", "kw", "kb", "vw", "vb", "ow", "ob", "nw", "nb", "uw", "ub", "dw", "db", "lw", "lb"),
                          ctx.needs_input_grad[3:], strict=True))  # fmt: skip
        q_w, _, k_w, _, v_w, _, out_w, _, norm_w, norm_b, up_w, _, down_w, _, last_w, last_b = parameters
        found: dict[str, torch.Tensor | None] = {}

        sum_TD, found["lw"], found["lb"] = _norm_back(gradient_TD, last, last_mean, last_scale, last_w, last_b)
        down_TD = _thinned(sum_TD, last_mask, layer.dropouts[2])
        found["dw"], found["db"] = _linear_back(down_TD, active, wanted["dw"], wanted["db"])
        wide_back = torch.mm(down_TD, down_w)
        A.gelu_backward.grad_input(wide_back, wide, grad_input=wide_back)
        found["uw"], found["ub"] = _linear_back(wide_back, half_TD, wanted["uw"], wanted["ub"])
        half_back = sum_TD.addmm_(wide_back, up_w)

        sum_TD, found["nw"], found["nb"] = _norm_back(half_back, first, first_mean, first_scale, norm_w, norm_b)
        out_TD = _thinned(sum_TD, first_mask, layer.dropouts[1])
        found["ow"], found["ob"] = _linear_back(out_TD, seen_TX, wanted["ow"], wanted["ob"])
        saved = Attended(rows_3RE, weights, masks)
        qkv_back = attend_backward(torch.mm(out_TD, out_w), saved, places, layer.scaling, layer.dropouts[0])
        weight, bias = _linear_back(qkv_back, hidden_TD, any(wanted[n] for n in ("qw", "kw", "vw")),
                                    any(wanted[n] for n in ("qb", "kb", "vb")))  # fmt: skip
        for i, name in enumerate("qkv"):
            rows = slice(i * len(q_w), (i + 1) * len(q_w))
            found[name + "w"] = None if weight is None else weight[rows]
            found[name + "b"] = None if bias is None else bias[rows]
        below = sum_TD.addmm_(qkv_back, torch.cat([q_w, k_w, v_w])) if ctx.needs_input_grad[0] else None
        return (below, None, None, *(found[name] if wanted[name] else None for name in wanted))


def _joined(x_TD: torch.Tensor, residual_TD: torch.Tensor, dropout: float) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Dropout, in place, and the residual; and the mask."""
    if not dropout:
        return x_TD.add_(residual_TD), None
    mask = dropout_mask(tuple(x_TD.shape), dropout)
    return torch.addcmul(residual_TD, x_TD, mask, value=1 / (1 - dropout), out=x_TD), mask


def _thinned(gradient_TD: torch.Tensor, mask: torch.Tensor | None, dropout: float) -> torch.Tensor:
    """The gradient below a dropout."""
    return gradient_TD if mask is None else (gradient_TD * mask).mul_(1 / (1 - dropout))


def _norm_of(x_TD: torch.Tensor, norm: nn.LayerNorm) -> tuple[torch.Tensor, ...]:
    """Result, means and inverse deviations."""
    return torch.native_layer_norm(x_TD, list(norm.normalized_shape), norm.weight, norm.bias, norm.eps)


def _norm_back(
    gradient_TD: torch.Tensor,
    x_TD: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
) -> Sequence[torch.Tensor]:
    """Gradients of input, weight and bias."""
    axes = [x_TD.shape[-1]]
    return A.native_layer_norm_backward(gradient_TD, x_TD, axes, mean, scale, weight, bias, [True, True, True])


def _linear_back(
    gradient_TK: torch.Tensor, x_TD: torch.Tensor, weight: bool, bias: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Gradients of a linear layer's weight and bias, where wanted."""
    return torch.mm(gradient_TK.t(), x_TD) if weight else None, gradient_TK.sum(0) if bias else None
