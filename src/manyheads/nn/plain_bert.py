"""BERT, RoBERTa, XLM-R and CamemBERT for answers, without transformers, whose import takes half of a cold start.

Decided here: the same modules under the same names, computing the same operations in the same order, so answers are those of
transformers' modules bit for bit. There is no dropout, so nothing is trained here; `nn/pretrained.py` exchanges the modules
for transformers' own where a user wants those. Only a configuration whose every key is known is read here, and everything
else, damaged files included, is left to transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.nn.encoder import PackedEncoder, pack_attention
from manyheads.nn.encoder_files import WEIGHTS

if TYPE_CHECKING:
    from manyheads.nn.safetensors_header import TensorInfo
    from manyheads.text.pack import Segments

OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert"})
"""Families whose positions start after the padding token's."""
FAMILIES = OFFSET_POSITIONS | {"bert"}
FLOATS = frozenset({"F32", "F16", "BF16"})


def _size(value: Any) -> bool:
    return type(value) is int and value > 0


def _share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


def _token(value: Any) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(type(value) is type(one) and value == one for one in values)


NEEDED: Mapping[str, Callable[[Any], bool]] = {
    "model_type": lambda value: isinstance(value, str) and value in FAMILIES,
    **dict.fromkeys(("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                     "max_position_embeddings", "type_vocab_size"), _size),
    "hidden_act": _one_of("gelu"), "layer_norm_eps": lambda value: type(value) is float and 0 < value < 1,
    "pad_token_id": lambda value: type(value) is int and value >= 0,
}  # fmt: skip
"""Keys that shape the encoder, and what each may be."""
INERT: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("add_cross_attention", "is_decoder", "gradient_checkpointing"), _one_of(False)),
    **dict.fromkeys(("use_cache", "tie_word_embeddings"), _one_of(True, False)),
    **dict.fromkeys(("attention_probs_dropout_prob", "hidden_dropout_prob", "initializer_range"), _share),
    **dict.fromkeys(("bos_token_id", "eos_token_id"), _token),
    **dict.fromkeys(("dtype", "torch_dtype"), _one_of("float32", "float16", "bfloat16")),
    "classifier_dropout": lambda value: value is None or _share(value),
    "architectures": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "position_embedding_type": _one_of("absolute"),
    "chunk_size_feed_forward": _one_of(0),
    "transformers_version": lambda value: isinstance(value, str),
}
"""Keys that change no answer with these values."""


def plain_encoder(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> PackedEncoder | None:
    """The encoder of a checked folder in evaluation mode, its weights in float32; None if transformers has to read it.

    `config` and `tensors` are what `checked_files` found in the folder.
    """
    if not _is_plain(config) or not (folder / WEIGHTS).is_file():
        return None
    with torch.device("meta"):
        model = PlainBert(config)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    if shapes != {name: one.shape for name, one in tensors.items()} or {one.dtype for one in tensors.values()} - FLOATS:
        return None
    from safetensors.torch import load_file

    weights = load_file(folder / WEIGHTS)
    model.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    return PackedEncoder(model.eval())


def _is_plain(config: Mapping[str, Any]) -> bool:
    known = {**NEEDED, **INERT}
    if not NEEDED.keys() <= config.keys() <= known.keys() or not all(
        known[key](value) for key, value in config.items()
    ):
        return False
    positions = config["max_position_embeddings"] if config["model_type"] in OFFSET_POSITIONS else config["vocab_size"]
    return config["hidden_size"] % config["num_attention_heads"] == 0 and config["pad_token_id"] < min(
        positions, config["vocab_size"]
    )


class PlainBert(nn.Module):
    """The modules of a bare encoder, named as in transformers."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config`: a configuration with all keys that are `NEEDED`."""
        super().__init__()
        self.settings = dict(config)
        self.config = SimpleNamespace(**config)
        self.embeddings = Embeddings(self.config)
        self.encoder = nn.ModuleDict({
            "layer": nn.ModuleList(Layer(self.config) for _ in range(self.config.num_hidden_layers))
        })  # fmt: skip

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.embeddings.word_embeddings


class Embeddings(nn.Module):
    """Word, token type and position embeddings."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, padding = config.hidden_size, config.pad_token_id
        offset = padding if config.model_type in OFFSET_POSITIONS else None

        def table(rows: int, padding: int | None = None) -> nn.Embedding:
            return nn.Embedding(rows, width, padding, _weight=torch.empty(rows, width))

        # Not drawn at random: on the meta device that imports torch._dynamo, 1.2 s.
        self.word_embeddings = table(config.vocab_size, padding)
        self.position_embeddings = table(config.max_position_embeddings, offset)
        self.token_type_embeddings = table(config.type_vocab_size)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(
        self, input_ids: torch.Tensor, token_type_ids: torch.Tensor, position_ids: torch.Tensor
    ) -> torch.Tensor:
        """The sum, normalized; the order of the sum is transformers'."""
        typed = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        normed: torch.Tensor = self.LayerNorm(typed + self.position_embeddings(position_ids))
        return normed


class Layer(nn.Module):
    """Attention and two linear layers, each with a residual that is normalized after it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, wide = config.hidden_size, config.intermediate_size
        self.head_width = width // config.num_attention_heads

        def joined(source: int) -> nn.ModuleDict:
            norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
            return nn.ModuleDict({"dense": nn.Linear(source, width), "LayerNorm": norm})

        inner = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": inner, "output": joined(width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, wide), "intermediate_act_fn": nn.GELU()})
        self.output = joined(wide)

    def forward(self, hidden_1TD: torch.Tensor, *, segments: Segments, **_: Any) -> torch.Tensor:
        """Hidden states `(1, T, D)` after the layer."""
        attention: Any = self.attention
        inner, half, up, last = attention["self"], attention["output"], self.intermediate, self.output
        heads = (1, hidden_1TD.shape[1], -1, self.head_width)
        query, key, value = (inner[name](hidden_1TD).view(heads).transpose(1, 2) for name in ("query", "key", "value"))
        seen, _weights = pack_attention(self, query, key, value, None, segments=segments, scaling=self.head_width**-0.5)
        half_1TD = half["LayerNorm"](half["dense"](seen.reshape(hidden_1TD.shape)) + hidden_1TD)
        wide = up["intermediate_act_fn"](up["dense"](half_1TD))
        out_1TD: torch.Tensor = last["LayerNorm"](last["dense"](wide) + half_1TD)
        return out_1TD
