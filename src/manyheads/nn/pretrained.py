"""Loading and saving encoders in transformers' own format.

Decided here: weights become float32 whatever the file holds, and come from safetensors only; the pooler is left out, so that
every parameter takes part; no code of a checkpoint is run.
"""

from __future__ import annotations

import inspect
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from manyheads.errors import EncoderError, first_line
from manyheads.nn.encoder import PackedEncoder
from manyheads.nn.encoder_files import check_folder, checked_files
from manyheads.nn.families import PACKED, check_family, is_of_encoder
from manyheads.nn.padded_encoder import PaddedEncoder
from manyheads.nn.plain_bert import PlainBert, plain_encoder
from manyheads.nn.resolve_encoder import resolve_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from manyheads.nn.encoder import Encoder


def wrap(model: nn.Module) -> Encoder:
    """The encoder around a bare model of transformers. Raises EncoderError for an unsupported family.

    >>> from transformers import BertConfig, BertModel
    >>> config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    >>> encoder = wrap(BertModel(config, add_pooling_layer=False))
    >>> encoder.width, encoder.depth, encoder.max_length
    (8, 2, 512)
    """
    config: Any = model.config
    check_family(config)
    return PackedEncoder(model) if config.model_type in PACKED else PaddedEncoder(model)


def load_encoder(folder_or_id: str, revision: str | None = None) -> Encoder:
    """An encoder in evaluation mode, its weights in float32, from any name that `resolve_encoder` takes.

    Raises EncoderError when it cannot be found or read, is not an encoder, or its weights do not fit its configuration.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    folder = resolve_encoder(folder_or_id, revision).path_or_id
    try:
        # A family that transformers does not know could only come with its own code, which is never run.
        family = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("model_type")
        config = AutoConfig.for_model(family).from_pretrained(folder)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise EncoderError(f"encoder {folder_or_id}: its config.json cannot be used ({first_line(error)})") from None
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
        raise EncoderError(f"encoder {folder_or_id}: its weights cannot be read ({first_line(error)})") from None
    _check_weights(folder_or_id, model, report)
    return wrap(model)


def load_checked(folder: Path) -> Encoder:
    """`load_encoder` of an untrusted folder. Raises EncoderError."""
    check_folder(folder)
    return load_encoder(str(folder))


def load_for_answers(folder: Path) -> Encoder:
    """An encoder of an untrusted folder that answers as `load_encoder`'s does, where possible without transformers.

    Raises EncoderError.
    """
    return plain_encoder(folder, *checked_files(folder)) or load_checked(folder)


def use_stock_modules(encoder: Encoder) -> None:
    """Give an encoder from `load_for_answers` transformers' own modules, with the same parameters and answers."""
    if not isinstance(encoder.model, PlainBert):
        return
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(encoder.config.model_type).from_dict(encoder.model.settings)
    with torch.random.fork_rng(devices=()):
        model = AutoModel.from_config(config, add_pooling_layer=False, dtype=torch.float32)
    model.train(encoder.training)
    for name, parameter in encoder.model.named_parameters():
        place, _, last = name.rpartition(".")
        setattr(model.get_submodule(place), last, parameter)
    model.to(next(encoder.parameters()).device)  # its buffers
    stock = wrap(model)
    encoder.model, encoder.config = stock.model, stock.config


def save_encoder(encoder: Encoder, folder: str | Path) -> None:
    """Write config.json and model.safetensors for plain transformers, without our attention."""
    with _quiet():
        encoder.model.save_pretrained(folder)


def _check_weights(name: str, model: Any, report: dict[str, Any]) -> None:
    """Raise EncoderError for a checkpoint that leaves a weight to chance. It may hold a pooler or a head besides."""
    strange = [key for key in report["unexpected_keys"] if is_of_encoder(key, model)]
    shapes = [str(entry[0]) for entry in report["mismatched_keys"]]
    found = ((report["missing_keys"], "lacks"), (shapes, "has another shape for"), (strange, "has the unknown"))
    for keys, what in found:
        if keys:
            raise EncoderError(f"encoder {name}: the checkpoint {what} {min(keys)} ({len(keys)} in all); "
                               "it is damaged, or of another family")  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """No report and no progress bars: a checkpoint with an unused pooler is the normal case."""
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
