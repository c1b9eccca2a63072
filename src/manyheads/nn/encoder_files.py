"""The files of an encoder's folder, looked at before transformers does.

A stranger's configuration can ask for sizes that no machine has, for other people's kernels, for adapters and weights that
lie elsewhere. Decided here: none of that is followed. The model is first built without memory, and may have no more
parameters than the weights beside it have numbers; so nothing that is made later is larger than the files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from manyheads.errors import EncoderError
from manyheads.nn.families import check_family
from manyheads.nn.stored import Stored, stored_tensors
from manyheads.text.plain_files import leads_out, read_object

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
ELSEWHERE = "adapter_config.json"
"""Beside weights it makes transformers load the base that it names, from wherever that is."""
MOST_CONFIG_BYTES = 1 << 20
MOST_LAYERS = 1000
MOST_LABELS = 100_000
"""Of a classifier that is not read: transformers makes a table of them all the same."""
MOST_NUMBER = 1 << 31
PLAIN_ATTENTION = (None, "eager", "sdpa")


def check_folder(folder: Path) -> None:
    """Raise EncoderError unless the files of an encoder's folder can be what transformers would take them for.

    Nothing is made that is larger than the files: the model is built without memory, and its parameters are counted.
    """
    try:
        path = folder / CONFIG
        said = _within(folder, path)
        _check_said(said)
        for path in _weights(folder):
            if leads_out(folder, path):
                raise ValueError("is a link that leaves its folder; put the file itself there")
        stored: dict[str, Stored] = {}
        for path in _weights(folder):
            stored |= stored_tensors(path)
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise EncoderError(f"{path} {error}") from None
    needed = _parameters(folder, str(said.get("model_type")))
    numbers = sum(tensor.numbers for tensor in stored.values())
    if needed > numbers:
        raise EncoderError(f"{folder / CONFIG} describes an encoder of {needed:,} parameters, but the weights beside it have "
                           f"{numbers:,}; it is damaged, or of another encoder")  # fmt: skip


def _within(folder: Path, path: Path) -> dict[str, Any]:
    if leads_out(folder, path):
        raise ValueError("is a link that leaves its folder; put the file itself there")
    return read_object(path, MOST_CONFIG_BYTES)


def _weights(folder: Path) -> list[Path]:
    """The files that weights would be read from, all in the folder. Raises ValueError for an index or adapter of others."""
    if (folder / ELSEWHERE).exists():
        raise ValueError(f"has {ELSEWHERE} beside it, an adapter of an encoder elsewhere; give the encoder itself")
    if (folder / "model.safetensors").exists() or not (folder / INDEX).exists():
        return sorted(folder.glob("*.safetensors"))
    named = _within(folder, folder / INDEX).get("weight_map")
    files = (
        set(named.values()) if isinstance(named, dict) and all(isinstance(v, str) for v in named.values()) else set()
    )
    if not files or any(Path(name).name != name or not name.endswith(".safetensors") for name in files):
        raise ValueError(f"has an {INDEX} beside it that names files outside of the folder; it is damaged")
    return [folder / name for name in sorted(files)]


def _check_said(said: Mapping[str, Any]) -> None:
    """Raise ValueError for a configuration that asks for code, or for numbers that no encoder has."""
    waiting: list[tuple[str, Any]] = list(said.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value]
        elif isinstance(value, int | float) and not -MOST_NUMBER < value < MOST_NUMBER:  # NaN is in no range either
            raise ValueError(f"has {key[:80]!r}: {str(value)[:40]}, which no encoder has; it is damaged")
        if type(value) is int and value < 0 and key.endswith(("size", "heads", "layers", "dim", "embeddings")):
            raise ValueError(f"has {key[:80]!r}: {value}, and sizes are not negative; it is damaged")
        if key.endswith(("attn_implementation", "experts_implementation")) and value not in PLAIN_ATTENTION:
            raise ValueError(f"asks for the {key[:80]} {value!r:.80}, which would be fetched or run; remove that key")
        if "layer" in key and isinstance(value, int) and value > MOST_LAYERS and not key.endswith(("size", "dim")):
            raise ValueError(
                f"has {key[:80]!r}: {value}, and encoders have at most {MOST_LAYERS} layers; it is damaged"
            )
        if key == "num_labels" and isinstance(value, int) and value > MOST_LABELS:
            raise ValueError(f"has {key!r}: {value}, at most {MOST_LABELS:,} are read; remove that key")
        if key in ("quantization_config", "compression_config") and value:
            raise ValueError(
                f"has {key!r}: weights that are not plain numbers are not read; give the encoder it was made of"
            )


def _parameters(folder: Path, family: str) -> int:
    """Numbers that the encoder of a configuration has, without making it. Raises EncoderError when there is no such one."""
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.for_model(family).from_pretrained(str(folder))
        check_family(config)
        with torch.device("meta"):
            model = AutoModel.from_config(config)
        return sum(math.prod(parameter.shape) for parameter in encoder_parameters(model))
    except EncoderError:
        raise
    except Exception as error:  # each family checks its settings in its own way, or stumbles over them
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise EncoderError(f"{folder / CONFIG} describes no encoder that can be built ({reason})") from None


def check_finite(model: nn.Module, source: object) -> None:
    """Raise EncoderError when a weight of a model that came from `source` is not a number, or infinite.

    A sum tells: it is finite only if all its terms are. 20 ms for 90 MB, as fast as memory is read.
    """
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        value = value.to_local() if hasattr(value, "to_local") else value  # of layers that processes share out
        if not torch.isfinite(value.sum()) and not torch.isfinite(value).all():
            raise EncoderError(f"{source}: the weight {name} holds numbers that are not finite; copy it again")


def encoder_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of a bare model but for its pooler, which no checkpoint needs to have."""
    return [value for name, value in model.named_parameters() if not name.startswith("pooler.")]
