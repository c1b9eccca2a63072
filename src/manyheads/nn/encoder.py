"""The encoder on packs: transformers' own layers, fed sequences laid end to end, without padding.

The forward pass is three files: `manyheads/model.py` (which layers and heads run), this one, and `heads.py`. Layers call
`pack_attention`, in which each sequence attends to itself alone; `padded_encoder.py` serves the families whose attention
cannot be replaced. Every encoder runs any range of its layers: sharing the bottom layers, adapters on the upper ones, and
caching a frozen bottom all need that.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.nn.attention import attend_padded, attend_varlen, can_attend_varlen
from manyheads.nn.cpu import post_norm
from manyheads.nn.cpu.attention import attend_by_length
from manyheads.nn.cpu.dropout import replace_dropouts
from manyheads.nn.cpu.length_order import LengthOrder
from manyheads.nn.families import layer_place, positions_spent

if TYPE_CHECKING:
    from manyheads.text.pack import Pack, Segments

PACK = "manyheads_pack"
"""The name under which transformers finds `pack_attention`."""
UNBOUNDED = 1 << 30
"""`max_length` of an encoder whose configuration names none."""


class Encoder(nn.Module, ABC):
    """Maps a pack to hidden states: `depth` layers of width D, sequences of at most `max_length` tokens."""

    def __init__(self, model: nn.Module) -> None:
        """`model`: a bare encoder of transformers, which this object takes over."""
        super().__init__()
        self.training = model.training
        self.model: Any = model
        config: Any = model.config
        self.config = config
        self.width: int = config.hidden_size
        self.pad_id: int = getattr(config, "pad_token_id", None) or 0
        """Fills the padding of rectangles; no answer depends on it."""
        self._layers_at = layer_place(model)
        self.depth = len(self.layer_modules())
        self.position_offset = positions_spent(model)
        positions: int = getattr(config, "max_position_embeddings", None) or UNBOUNDED
        self.max_length = positions - self.position_offset

    @abstractmethod
    def embed(self, pack: Pack) -> torch.Tensor:
        """Embeddings `(T, D)`: the input of the first layer. Raises ValueError for a sequence past `max_length`."""

    @abstractmethod
    def layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        """Hidden states after layers `start` to `stop - 1`. A final norm belongs to the last layer."""

    @abstractmethod
    def forward(self, pack: Pack) -> torch.Tensor:
        """Hidden states `(T, D)` after all layers: `embed`, then `layers` from 0 to `depth`."""

    def states(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> list[torch.Tensor]:
        """Hidden states after each of the layers `start` to `stop - 1`, for a mix of layers."""
        states = [hidden_TD]
        for layer in range(start, stop):
            states.append(self.layers(states[-1], pack, layer, layer + 1))
        return states[1:]

    def layer_modules(self) -> list[nn.Module]:
        """The layers, bottom first."""
        return list(self.model.get_submodule(self._layers_at))

    def embedding_module(self) -> nn.Module:
        """Everything below the first layer."""
        below = [getattr(self.model, name, None) for name in ("embeddings", "embeddings_project")]
        modules = [module for module in below if module is not None] or [self.model.get_input_embeddings()]
        return modules[0] if len(modules) == 1 else nn.ModuleList(modules)

    def _check_lengths(self, pack: Pack) -> None:
        if pack.segments.max_length > self.max_length:
            raise ValueError(f"a sequence of {pack.segments.max_length} tokens is longer than the encoder's maximum of "
                             f"{self.max_length}")  # fmt: skip


class PackedEncoder(Encoder):
    """BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA, DistilBERT, ModernBERT: no padding anywhere."""

    def __init__(self, model: nn.Module) -> None:
        """Sets the model's attention implementation and replaces its dropout modules."""
        super().__init__(model)
        if "transformers" in sys.modules:  # otherwise the model is none of theirs
            _register_attention()
        replace_dropouts(model)
        self.config._attn_implementation = PACK

    def embed(self, pack: Pack) -> torch.Tensor:
        """Word, position and type embeddings, as the family has them."""
        self._check_lengths(pack)
        family, ids = self.config.model_type, pack.ids_T[None]
        positions = pack.position_T[None] + self.position_offset
        if family == "modernbert":
            hidden: torch.Tensor = self.model.embeddings(input_ids=ids)
        elif family == "distilbert":
            hidden = self.model.embeddings(input_ids=ids, position_ids=positions)
        else:
            # Families with one token type take only 0, whatever the tokenizer says.
            typed = getattr(self.config, "type_vocab_size", 0) > 1
            types = pack.type_T if typed else torch.zeros_like(pack.type_T)
            hidden = self.model.embeddings(input_ids=ids, token_type_ids=types[None], position_ids=positions)
        if family == "electra" and hasattr(self.model, "embeddings_project"):
            hidden = self.model.embeddings_project(hidden)
        return hidden[0]

    def layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        """The layers' own modules, with our attention."""
        if start == stop:
            return hidden_TD
        order = LengthOrder.of(pack)
        return order.restore(self._run(order.sort(hidden_TD), order.sort_pack(pack), start, stop))

    def states(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> list[torch.Tensor]:
        """Sorts the pack once for all layers."""
        order, states = LengthOrder.of(pack), []
        hidden_TD, ordered = order.sort(hidden_TD), order.sort_pack(pack)
        for layer in range(start, stop):
            hidden_TD = self._run(hidden_TD, ordered, layer, layer + 1)
            states.append(order.restore(hidden_TD))
        return states

    def forward(self, pack: Pack) -> torch.Tensor:
        """Sorts ids where `layers` sorts hidden states."""
        order = LengthOrder.of(pack)
        ordered = order.sort_pack(pack)
        return order.restore(self._run(self.embed(ordered), ordered, 0, self.depth))

    def _run(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        hidden = hidden_TD[None]
        rotary: dict[str, Any] = {}
        modern = self.config.model_type == "modernbert"
        for layer in self.layer_modules()[start:stop]:
            by_hand = post_norm.by_hand(layer, hidden)
            if by_hand is not None:
                hidden = by_hand.run(hidden[0], pack.segments)[None]
                continue
            more = {}
            if modern:
                kind = str(layer.attention_type)
                if kind not in rotary:
                    rotary[kind] = self.model.rotary_emb(hidden, pack.position_T[None], kind)
                more = {"position_embeddings": rotary[kind]}
            out = layer(hidden, attention_mask=None, segments=pack.segments, **more)
            hidden = out[0] if isinstance(out, tuple) else out
        if modern and stop == self.depth:
            hidden = self.model.final_norm(hidden)
        return hidden[0]


def pack_attention(  # noqa: PLR0913  the signature is that of transformers' attention functions
    module: nn.Module,
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
    """Attention `(1, T, H, D)` of each sequence to itself; `segments` says where they lie, so there is no mask.

    `dropout` is that of this call: transformers passes 0 in evaluation. With a `sliding_window` (ModernBERT's local layers)
    i sees j where |i - j| < window.
    """
    qkv = (query_1HTD[0].transpose(0, 1), key_1HTD[0].transpose(0, 1), value_1HTD[0].transpose(0, 1))
    if query_1HTD.device.type == "cpu":
        out_THD = attend_by_length(qkv, segments, scaling, dropout, sliding_window)
    elif can_attend_varlen(qkv[0]):
        out_THD = attend_varlen(qkv, segments, scaling, sliding_window)
    else:
        out_THD = attend_padded(qkv, segments, scaling, dropout, sliding_window)
    return out_THD[None], None


@cache
def _register_attention() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACK, pack_attention)
    AttentionMaskInterface.register(PACK, lambda *_, **__: None)
