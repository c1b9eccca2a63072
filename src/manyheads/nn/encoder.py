"""Encoders on packs: transformers' own models, fed sequences laid end to end.

`PackedEncoder` runs the families whose attention can be replaced, without any padding. `PaddedEncoder` serves the others
(relative position biases: MPNet, DeBERTa): it pads, runs the stock model, and unpads, so that whoever holds an `Encoder`
cannot tell. Both run any range of their layers, which is what sharing the bottom layers, adapters on the upper ones, and
caching a frozen bottom need.

Decided here: weights are float32 whatever the file holds, from safetensors only; the pooler is left out, so every
parameter takes part; a family that is not tested is tried when it is loaded, and refused if padding changes its answers.
"""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.errors import EncoderError
from manyheads.nn.attention import PACK, rectangle, runs
from manyheads.nn.dropout import replace_dropouts
from manyheads.nn.families import (
    PACKED,
    PADDED,
    Excerpt,
    check_family,
    is_of_encoder,
    layer_place,
    positions_spent,
    supported,
)
from manyheads.nn.post_norm import read_layer
from manyheads.text.pack import Pack, Segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNBOUNDED = 1 << 30
"""`max_length` of an encoder whose configuration names none."""


class Encoder(nn.Module, ABC):
    """Maps a pack to hidden states; width D, `depth` layers, at most `max_length` tokens a sequence."""

    def __init__(self, model: nn.Module) -> None:
        """`model`: a bare encoder of transformers, which this object takes over."""
        super().__init__()
        self.training = model.training
        self.model: Any = model
        config: Any = model.config
        self.config = config
        self.width: int = config.hidden_size
        self.pad_id: int = getattr(config, "pad_token_id", None) or 0
        """What stands in the padding of rectangles; no answer depends on it."""
        self._place = layer_place(model)
        self.depth = len(self.layer_modules())
        self.position_offset = positions_spent(model)
        positions: int = getattr(config, "max_position_embeddings", None) or UNBOUNDED
        self.max_length = positions - self.position_offset

    @abstractmethod
    def embed(self, pack: Pack) -> torch.Tensor:
        """Embeddings `(T, D)`: what the first layer reads. Raises ValueError for a sequence past `max_length`."""

    @abstractmethod
    def layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        """Layers `start` to `stop - 1`, none when they are equal. A final norm belongs to the last layer."""

    @abstractmethod
    def forward(self, pack: Pack) -> torch.Tensor:
        """Hidden states `(T, D)` after all layers: `embed`, then `layers` from 0 to `depth`."""

    def layer_modules(self) -> list[nn.Module]:
        """The layers, bottom first."""
        found: Any = self.model
        for name in self._place:
            found = getattr(found, name)
        return list(found)

    def embedding_module(self) -> nn.Module:
        """Everything below the first layer."""
        below = [getattr(self.model, name, None) for name in ("embeddings", "embeddings_project")]
        modules = [module for module in below if module is not None]
        if not modules:
            modules = [self.model.get_input_embeddings()]
        return modules[0] if len(modules) == 1 else nn.ModuleList(modules)

    def _check_lengths(self, pack: Pack) -> None:
        if pack.segments.max_length > self.max_length:
            raise ValueError(f"a sequence of {pack.segments.max_length} tokens is longer than the encoder's maximum of "
                             f"{self.max_length}")  # fmt: skip

    def _types(self, pack: Pack) -> torch.Tensor:
        """Token types; all 0 where the family knows only one, whatever the tokenizer says."""
        known: int = getattr(self.config, "type_vocab_size", 0)
        return pack.type_T if known > 1 else torch.zeros_like(pack.type_T)


class PackedEncoder(Encoder):
    """BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA, DistilBERT, ModernBERT: no padding anywhere."""

    def __init__(self, model: nn.Module) -> None:
        """Sets the model's attention implementation, and replaces its dropout modules."""
        super().__init__(model)
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
            hidden = self.model.embeddings(
                input_ids=ids, token_type_ids=self._types(pack)[None], position_ids=positions
            )
        if family == "electra" and hasattr(self.model, "embeddings_project"):
            hidden = self.model.embeddings_project(hidden)
        return hidden[0]

    def layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        """The layers' own modules, with our attention."""
        if start == stop:
            return hidden_TD
        order = _by_length(pack)
        if order is None:
            return self._layers(hidden_TD, pack, start, stop)
        lengths = pack.segments.lengths
        return _restored(
            self._layers(_moved(hidden_TD, lengths, order), _sorted(pack, order), start, stop), lengths, order
        )

    def forward(self, pack: Pack) -> torch.Tensor:
        """Sorts ids where `layers` would sort hidden states."""
        order = _by_length(pack)
        if order is None:
            return self._layers(self.embed(pack), pack, 0, self.depth)
        ordered = _sorted(pack, order)
        hidden_TD = self._layers(self.embed(ordered), ordered, 0, self.depth)
        return _restored(hidden_TD, pack.segments.lengths, order)

    def _layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        hidden = hidden_TD[None]
        rotary: dict[str, Any] = {}
        modern = self.config.model_type == "modernbert"
        for layer in self.layer_modules()[start:stop]:
            written = read_layer(layer) if _by_hand(hidden) and _trains(layer, hidden) else None
            if written is not None:
                hidden = written.run(hidden[0], pack.segments)[None]
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


class PaddedEncoder(Encoder):
    """MPNet, DeBERTa-v2, and whatever else passes a trial: padded inside, packed outside."""

    def __init__(self, model: nn.Module) -> None:
        """Tries a small pack. Raises EncoderError when layers cannot be run by range, or padding changes answers."""
        super().__init__(model)
        known = inspect.signature(self.model.forward).parameters
        self._takes_types = "token_type_ids" in known and getattr(self.config, "type_vocab_size", 0) > 1
        family = self.config.model_type
        if "attention_mask" not in known:
            raise EncoderError(f"encoders of the family '{family}' read their padding; {supported()}")
        training = model.training
        self.eval()
        try:
            with torch.no_grad():
                self._excerpt = Excerpt(model, self._inputs(_trial((5, 3), self.config))[0])
                works = family in PADDED or self._passes()
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, AssertionError) as error:
            raise EncoderError(f"encoders of the family '{family}' do not run here ({_first_line(error)}); {supported()}"
                               ) from None  # fmt: skip
        if not works:
            raise EncoderError(f"encoders of the family '{family}' answer differently when a text is padded, or when "
                               f"layers are run by range; {supported()}")  # fmt: skip
        self.train(training)

    def embed(self, pack: Pack) -> torch.Tensor:
        """Whatever the family does before its first layer."""
        self._check_lengths(pack)
        inputs, place_T = self._inputs(pack)
        return self._excerpt.embed(inputs).flatten(0, 1).index_select(0, place_T)

    def layers(self, hidden_TD: torch.Tensor, pack: Pack, start: int, stop: int) -> torch.Tensor:
        """The stock model on a rectangle, from one layer to another."""
        if start == stop:
            return hidden_TD
        inputs, place_T = self._inputs(pack)
        rows = inputs["input_ids"].shape
        full = hidden_TD.new_zeros((rows.numel(), self.width)).index_copy(0, place_T, hidden_TD)
        hidden_SLD = self._excerpt.layers(full.view(*rows, self.width), inputs, start, stop)
        return hidden_SLD.flatten(0, 1).index_select(0, place_T)

    def forward(self, pack: Pack) -> torch.Tensor:
        """The stock model's own forward pass on a rectangle."""
        self._check_lengths(pack)
        inputs, place_T = self._inputs(pack)
        hidden_SLD: torch.Tensor = self.model(**inputs)[0]
        return hidden_SLD.flatten(0, 1).index_select(0, place_T)

    def _inputs(self, pack: Pack) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the stock model takes, and where each token stands in the rectangle."""
        place_T, mask_SL = rectangle(pack.segments, pack.ids_T.device)
        ids = pack.ids_T.new_full((mask_SL.numel(),), self.pad_id).index_copy(0, place_T, pack.ids_T)
        inputs = {"input_ids": ids.view_as(mask_SL), "attention_mask": mask_SL.long()}
        if self._takes_types:
            types = torch.zeros_like(ids).index_copy(0, place_T, pack.type_T)
            inputs["token_type_ids"] = types.view_as(mask_SL)
        return inputs, place_T

    def _passes(self) -> bool:
        """Whether a sequence is alone in company, and layers give by parts what they give at once."""
        pack, alone = _trial((5, 3), self.config), _trial((3,), self.config)
        whole = self(pack)
        parts = self.layers(self.layers(self.embed(pack), pack, 0, 1), pack, 1, self.depth)
        near = 1e-4 * float(whole.abs().max())
        return bool(torch.allclose(whole[-3:], self(alone), atol=near) and torch.allclose(whole, parts, atol=near))


def _trial(lengths: tuple[int, ...], config: Any) -> Pack:
    """A pack of ids that are not padding; the last three are always the same."""
    padding = getattr(config, "pad_token_id", None)
    ids = [i for i in range(min(config.vocab_size, 16)) if i != padding]
    made = [ids[-1 - i % len(ids)] for i in range(sum(lengths))][::-1]
    positions = [i for length in lengths for i in range(length)]
    ids_T = torch.tensor(made)
    return Pack(ids_T, torch.tensor(positions), torch.zeros_like(ids_T), Segments.of(lengths))


def _by_length(pack: Pack) -> list[int] | None:
    """The order of sequences that makes equal lengths neighbours; None when they are, or on a GPU, where it is no help."""
    lengths = pack.segments.lengths
    if pack.ids_T.device.type != "cpu" or len(runs(lengths)) == len(set(lengths)):
        return None
    return sorted(range(len(lengths)), key=lengths.__getitem__)


def _by_hand(hidden: torch.Tensor) -> bool:
    """Whether layers that are written out serve: plain float32 on a CPU, and nobody is tracing."""
    return (
        hidden.device.type == "cpu"
        and hidden.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _trains(layer: nn.Module, hidden: torch.Tensor) -> bool:
    """Whether a gradient goes into the layer, or through it; or could, and dropout must be that of such a pass."""
    if not (torch.is_grad_enabled() or layer.training):
        return False
    return hidden.requires_grad or any(parameter.requires_grad for parameter in layer.parameters())


def _moved(x_T: torch.Tensor, lengths: Sequence[int], order: Sequence[int]) -> torch.Tensor:
    """The sequences of a tensor in another order. Split and cat: the gradient of an index is several times slower."""
    parts = x_T.split_with_sizes(list(lengths))
    return torch.cat([parts[s] for s in order])


def _restored(x_T: torch.Tensor, lengths: Sequence[int], order: Sequence[int]) -> torch.Tensor:
    """What `_moved` moved, back in its place."""
    return _moved(x_T, [lengths[s] for s in order], sorted(range(len(order)), key=order.__getitem__))


def _sorted(pack: Pack, order: Sequence[int]) -> Pack:
    lengths = pack.segments.lengths
    ids_T, position_T, type_T = (_moved(x, lengths, order) for x in (pack.ids_T, pack.position_T, pack.type_T))
    return Pack(ids_T, position_T, type_T, Segments.of([lengths[s] for s in order]))


def wrap(model: nn.Module) -> Encoder:
    """The encoder around a bare model of transformers. Raises EncoderError for a family that has no place here."""
    config: Any = model.config
    check_family(config)
    return PackedEncoder(model) if config.model_type in PACKED else PaddedEncoder(model)


def load_encoder(folder_or_id: str, revision: str | None = None) -> Encoder:
    """An encoder in evaluation mode, its weights in float32, from anything that `locate_encoder` finds.

    Raises EncoderError when it cannot be found or read, is no encoder, or its weights do not fit its configuration.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    from manyheads.nn.locate import locate_encoder

    folder = locate_encoder(folder_or_id, revision).path_or_id
    try:
        # A family that transformers does not know could only come with code of its own, which is never run.
        family = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("model_type")
        config = AutoConfig.for_model(family).from_pretrained(folder)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise EncoderError(f"encoder {folder_or_id}: its config.json cannot be used ({_first_line(error)})") from None
    check_family(config)
    takes = inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters
    pooler = {"add_pooling_layer": False} if "add_pooling_layer" in takes else {}
    try:
        with _quiet():
            model, report = AutoModel.from_pretrained(
                folder, config=config, dtype=torch.float32, use_safetensors=True, local_files_only=True,
                output_loading_info=True, ignore_mismatched_sizes=True, **pooler,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise EncoderError(f"encoder {folder_or_id}: its weights cannot be read ({_first_line(error)})") from None
    _check_weights(folder_or_id, model, report)
    return wrap(model)


def save_encoder(encoder: Encoder, folder: str | Path) -> None:
    """Write config.json and model.safetensors that plain transformers loads; the attention of ours is not in them."""
    with _quiet():
        encoder.model.save_pretrained(folder)


def _check_weights(name: str, model: Any, report: dict[str, Any]) -> None:
    """Refuse a checkpoint that leaves a weight to chance. A pooler or a head that is not used may be in it."""
    strange = [key for key in report["unexpected_keys"] if is_of_encoder(key, model)]
    shapes = [str(entry[0]) for entry in report["mismatched_keys"]]
    found = ((report["missing_keys"], "lacks"), (shapes, "has another shape for"), (strange, "has the unknown"))
    for keys, what in found:
        if keys:
            raise EncoderError(f"encoder {name}: the checkpoint {what} {min(keys)} ({len(keys)} such); "
                               "it is damaged, or not of this family")  # fmt: skip


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """No report and no bars: a checkpoint with a pooler we do not want is the normal case."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
