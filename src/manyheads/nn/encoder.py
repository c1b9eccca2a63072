"""Encoders on packs: transformers' own models, fed sequences laid end to end.

`PackedEncoder` runs the families whose attention can be replaced, without any padding. `PaddedEncoder` serves those whose
attention is tied to a rectangle (relative position biases: MPNet, DeBERTa): it pads, runs the same layers, and unpads, so
that whoever holds an `Encoder` cannot tell. Both run any range of their layers, which is what sharing the bottom layers,
adapters on the upper ones, and caching a frozen bottom will need.

Decided here: weights are float32 whatever the file holds; the pooler is left out, so every parameter takes part.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.errors import EncoderError
from manyheads.nn.attention import PACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from manyheads.text.pack import Pack

ROBERTA = frozenset({"roberta", "xlm-roberta", "camembert"})
"""Families whose positions start at `padding_idx + 1`."""
PACKED = ROBERTA | {"bert", "electra", "distilbert", "modernbert"}
PADDED = frozenset({"mpnet", "deberta-v2"})
IGNORED_WEIGHTS = ("pooler.", "cls.", "lm_head.", "predictions.", "discriminator_", "generator_", "head.", "decoder.",
                   "vocab_", "qa_outputs.", "classifier.", "mask_predictions.")  # fmt: skip
"""Parts of a checkpoint that belong to heads of its pretraining."""


class Encoder(nn.Module, ABC):
    """Maps a pack to hidden states; width D, `depth` layers, at most `max_length` tokens a sequence."""

    def __init__(self, model: nn.Module) -> None:
        """`model`: a bare encoder of transformers."""
        super().__init__()
        self.model: Any = model
        config: Any = model.config
        self.config = config
        self.width: int = config.hidden_size
        self.depth = len(self.layer_modules())
        # RoBERTa and MPNet spend the first `padding_idx + 1` positions.
        offset: int = config.pad_token_id + 1 if config.model_type in ROBERTA | {"mpnet"} else 0
        self.max_length: int = config.max_position_embeddings - offset
        self.position_offset = offset

    @abstractmethod
    def embed(self, pack: Pack) -> torch.Tensor:
        """Embeddings `(T, D)`: what the first layer reads."""

    @abstractmethod
    def layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        """Layers `start` to `stop - 1`. A final norm, where the family has one, belongs to the last layer."""

    def forward(self, pack: Pack) -> torch.Tensor:
        """Hidden states `(T, D)` after all layers."""
        return self.layers(self.embed(pack), pack, 0, self.depth)

    def layer_modules(self) -> list[nn.Module]:
        """The layers, bottom first."""
        for place in ("encoder.layer", "transformer.layer", "layers"):
            found = self.model
            for name in place.split("."):
                found = getattr(found, name, None)
            if isinstance(found, nn.ModuleList):
                return list(found)
        raise EncoderError(f"encoders of the family '{self.config.model_type}' have layers where we do not find them; "
                           f"supported are {', '.join(sorted(PACKED | PADDED))}")  # fmt: skip

    def embedding_module(self) -> nn.Module:
        """The embeddings."""
        module: nn.Module = self.model.embeddings
        return module


class PackedEncoder(Encoder):
    """BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA, DistilBERT, ModernBERT: no padding anywhere."""

    def __init__(self, model: nn.Module) -> None:
        """Sets the model's attention implementation."""
        super().__init__(model)
        self.config._attn_implementation = PACK

    def embed(self, pack: Pack) -> torch.Tensor:
        """Word, position and type embeddings, as the family has them."""
        family, ids = self.config.model_type, pack.ids_T[None]
        positions = pack.position_T[None] + self.position_offset
        if family == "modernbert":
            hidden: torch.Tensor = self.model.embeddings(input_ids=ids)
        elif family == "distilbert":
            hidden = self.model.embeddings(ids, None, positions)
        else:
            hidden = self.model.embeddings(input_ids=ids, token_type_ids=pack.type_T[None], position_ids=positions)
        if family == "electra" and hasattr(self.model, "embeddings_project"):
            hidden = self.model.embeddings_project(hidden)
        return hidden[0]

    def layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        """The layers' own modules, with our attention."""
        hidden = hidden_TD[None]
        rotary: dict[str, Any] = {}
        modern = self.config.model_type == "modernbert"
        for layer in self.layer_modules()[start:stop]:
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


class PaddedEncoder(Encoder):
    """MPNet and DeBERTa-v2: padded inside, packed outside."""

    def embed(self, pack: Pack) -> torch.Tensor:
        """Word, position and type embeddings, as the family has them."""
        flat, mask_SL = _rectangle(pack)
        ids_SL = _padded(pack.ids_T[:, None], flat, mask_SL, self.config.pad_token_id)[..., 0]
        if self.config.model_type == "mpnet":
            hidden_SLD = self.model.embeddings(input_ids=ids_SL)
        else:
            types_SL = _padded(pack.type_T[:, None], flat, mask_SL, 0)[..., 0]
            hidden_SLD = self.model.embeddings(input_ids=ids_SL, token_type_ids=types_SL, mask=mask_SL.float())
        return hidden_SLD.flatten(0, 1)[flat]

    def layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        """The layers' own modules on a rectangle."""
        flat, mask_SL = _rectangle(pack)
        hidden_SLD = _padded(hidden_TD, flat, mask_SL, 0)
        if self.config.model_type == "mpnet":
            hidden_SLD = self._mpnet(hidden_SLD, mask_SL, start, stop)
        else:
            hidden_SLD = self._deberta(hidden_SLD, mask_SL, start, stop)
        return hidden_SLD.flatten(0, 1)[flat]

    def _mpnet(self, hidden_SLD: torch.Tensor, mask_SL: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        encoder = self.model.encoder
        bias = encoder.compute_position_bias(hidden_SLD)
        lowest = torch.finfo(hidden_SLD.dtype).min
        mask_S11L = (1.0 - mask_SL[:, None, None, :].to(hidden_SLD.dtype)) * lowest
        for layer in encoder.layer[start:stop]:
            hidden_SLD = layer(hidden_SLD, mask_S11L, bias)[0]
        return hidden_SLD

    def _deberta(self, hidden_SLD: torch.Tensor, mask_SL: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        encoder = self.model.encoder
        mask = encoder.get_attention_mask(mask_SL.long())
        positions = encoder.get_rel_pos(hidden_SLD)
        relative = encoder.get_rel_embedding()
        for i, layer in enumerate(encoder.layer[start:stop], start=start):
            below = hidden_SLD
            hidden_SLD = layer(below, mask, relative_pos=positions, rel_embeddings=relative)[0]
            if i == 0 and encoder.conv is not None:
                hidden_SLD = encoder.conv(below, hidden_SLD, mask_SL.long())
        return hidden_SLD


def _rectangle(pack: Pack) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each token of the pack stands in a padded rectangle, flattened; and the mask (S, L) of real tokens."""
    lengths_S = torch.tensor(pack.segments.lengths, device=pack.ids_T.device)
    longest = pack.segments.max_length
    mask_SL = torch.arange(longest, device=lengths_S.device)[None] < lengths_S[:, None]
    return mask_SL.flatten().nonzero()[:, 0], mask_SL


def _padded(values_TX: torch.Tensor, flat_T: torch.Tensor, mask_SL: torch.Tensor, fill: int) -> torch.Tensor:
    full = values_TX.new_full((mask_SL.numel(), values_TX.shape[1]), fill)
    return full.index_copy(0, flat_T, values_TX).view(*mask_SL.shape, values_TX.shape[1])


def wrap(model: nn.Module) -> Encoder:
    """The encoder around a bare model of transformers. Raises EncoderError for a family that has no place here."""
    config: Any = model.config
    family = config.model_type
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False):
        raise EncoderError(f"a model of the family '{family}' with a decoder is not an encoder; "
                           f"use one of {', '.join(sorted(PACKED | PADDED))}")  # fmt: skip
    if family in PACKED:
        return PackedEncoder(model)
    if family in PADDED:
        return PaddedEncoder(model)
    raise EncoderError(
        f"encoders of the family '{family}' are not supported; use one of {', '.join(sorted(PACKED | PADDED))}"
    )


def load_encoder(folder_or_id: str, revision: str | None = None) -> Encoder:
    """An encoder with its weights in float32, from a folder or the hub.

    Raises EncoderError when it cannot be read, is no encoder, or its weights do not fit its configuration.
    """
    from transformers import AutoConfig, AutoModel

    settings = {"revision": revision} if revision else {}
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(folder_or_id, **settings)
        except (OSError, ValueError, KeyError) as error:
            raise EncoderError(f"encoder {folder_or_id}: its config cannot be read ({_first_line(error)})") from None
        if (
            config.model_type not in PACKED | PADDED
            or config.is_encoder_decoder
            or getattr(config, "is_decoder", False)
        ):
            wrap(_Bare(config))
        try:
            model, report = AutoModel.from_pretrained(
                folder_or_id, config=config, dtype=torch.float32, output_loading_info=True, use_safetensors=True,
                ignore_mismatched_sizes=True,
                attn_implementation="eager", **_without_pooler(config), **settings,
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError) as error:
            raise EncoderError(f"encoder {folder_or_id}: its weights cannot be read ({_first_line(error)})") from None
    missing = sorted(report["missing_keys"])
    mismatched = sorted(str(entry) for entry in report["mismatched_keys"])
    strange = sorted(key for key in report["unexpected_keys"] if not any(part in key for part in IGNORED_WEIGHTS))
    for names, what in ((missing, "lacks"), (mismatched, "has another shape for"), (strange, "has the unknown")):
        if names:
            raise EncoderError(f"encoder {folder_or_id}: the checkpoint {what} {names[0]} ({len(names)} such); "
                               "it is damaged, or not of this family")  # fmt: skip
    return wrap(model)


def save_encoder(encoder: Encoder, folder: str | Path) -> None:
    """Write config.json and model.safetensors that plain transformers loads."""
    model = encoder.model
    chosen = model.config._attn_implementation
    model.config._attn_implementation = None
    try:
        with _quiet():
            model.save_pretrained(folder, safe_serialization=True)
    finally:
        model.config._attn_implementation = chosen


class _Bare(nn.Module):
    """Carries a configuration to `wrap`, which refuses it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config


def _without_pooler(config: Any) -> dict[str, bool]:
    return {"add_pooling_layer": False} if config.model_type in ROBERTA | {"bert", "mpnet"} else {}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """No report and no bars: a checkpoint with a pooler we do not want is the normal case."""
    from transformers.utils import logging as theirs

    level, logger = theirs.get_verbosity(), logging.getLogger("transformers")
    bars = theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        logger.setLevel(level)
        if bars:
            theirs.enable_progress_bar()
