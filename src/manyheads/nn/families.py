"""What is known of transformers' encoder families.

Decided here: a family counts as an encoder when transformers trains it by filling in masks and it has no decoder. Its layers
are looked up in the few places that transformers uses.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from manyheads.errors import EncoderError

PACKED = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "modernbert"})
"""Families that run on packs: attention is the only thing in them that looks at other tokens."""
PADDED = frozenset({"mpnet", "deberta-v2"})
"""Families that run padded and are tested; others are tried when they are loaded."""
UNFIT = {"big_bird": "its attention skips blocks, which ones depends on the length of the longest sequence"}
"""Encoders that load, but whose answers depend on the other texts of a batch."""
PLACES = ("encoder.layer", "transformer.layer", "layers", "encoder.layers")
LEFTOVERS = ("position_ids", "token_type_ids", "inv_freq")
"""Buffers that older versions of transformers wrote into checkpoints."""


def is_gelu(module: object) -> bool:
    """Whether a module is the exact GELU, torch's or transformers'."""
    if not isinstance(module, nn.Module):
        return False
    if isinstance(module, nn.GELU):
        return module.approximate == "none"
    from transformers.activations import GELUActivation

    return type(module) is GELUActivation


def supported() -> str:
    """The tested families, for messages."""
    return f"use one of {', '.join(sorted(PACKED | PADDED))}"


def check_family(config: Any) -> None:
    """Raise EncoderError unless the configuration is that of a text encoder."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    family = config.model_type
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False):
        raise EncoderError(f"a model of the family '{family}' with a decoder is not an encoder; {supported()}")
    if family not in PACKED | PADDED and family not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise EncoderError(f"models of the family '{family}' are not text encoders (decoder-only, or not for text); "
                           f"{supported()}")  # fmt: skip
    if family in UNFIT:
        raise EncoderError(f"encoders of the family '{family}' are not supported: {UNFIT[family]}; {supported()}")


def layer_place(model: nn.Module) -> str:
    """The dotted name of the model's list of layers. Raises EncoderError where there is none."""
    for place in PLACES:
        found: Any = model
        for name in place.split("."):
            found = getattr(found, name, None)
        if isinstance(found, nn.ModuleList) and len(found):
            return place
    family = getattr(model.config, "model_type", type(model).__name__)
    raise EncoderError(f"encoders of the family '{family}' keep their layers in an unknown place; {supported()}")


def positions_spent(model: Any) -> int:
    """Positions below that of the first token: `padding_idx + 1` in the RoBERTa family and MPNet, else 0."""
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else padding + 1


def is_of_encoder(key: str, model: Any) -> bool:
    """Whether a checkpoint's entry lies inside a part that the encoder has (rather than in a pooler or a head)."""
    part = key.removeprefix(f"{model.base_model_prefix}.").split(".")[0]
    return part in dict(model.named_children()) and not key.endswith(LEFTOVERS)
