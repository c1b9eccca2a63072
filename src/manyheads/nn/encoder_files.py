"""Checks the files of an untrusted encoder's folder before transformers reads them.

A configuration can ask for sizes that no machine has, for third-party kernels, for adapters and weights elsewhere. Decided
here: none of that is followed. The model is first built on the meta device, and may have no more parameters than the weights
beside it have numbers, so nothing allocated later is larger than the files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from manyheads.errors import EncoderError, first_line
from manyheads.nn.families import check_family
from manyheads.nn.safetensors_header import TensorInfo, read_header
from manyheads.text.untrusted_files import leaves_folder, read_object

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ELSEWHERE = "adapter_config.json"
"""Beside weights, it makes transformers load the base encoder that it names, from anywhere."""
MOST_CONFIG_BYTES = 1 << 20
MOST_LAYERS = 1000
MOST_LABELS = 100_000
"""Labels of an unused classifier: transformers makes a table of them anyway."""
MOST_NUMBER = 1 << 31
PLAIN_ATTENTION = (None, "eager", "sdpa")


def check_folder(folder: Path) -> None:
    """Raise EncoderError unless transformers can safely load a folder. Allocates nothing larger than its files."""
    config, tensors = checked_files(folder)
    needed = _parameters(folder, str(config.get("model_type")))
    numbers = sum(tensor.numbers for tensor in tensors.values())
    if needed > numbers:
        raise EncoderError(f"{folder / CONFIG} describes an encoder of {needed:,} parameters, but the weights beside it have "
                           f"{numbers:,}; it is damaged, or of another encoder")  # fmt: skip


def checked_files(folder: Path) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
    """The configuration and the stored tensors of a folder. Raises EncoderError for what no encoder has."""
    try:
        path = folder / CONFIG
        config = read_object(_inside(folder, path), MOST_CONFIG_BYTES)
        _check_config(config)
        tensors: dict[str, TensorInfo] = {}
        for path in _weights(folder):
            tensors |= read_header(_inside(folder, path))
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise EncoderError(f"{path} {error}") from None
    return config, tensors


def _inside(folder: Path, path: Path) -> Path:
    if leaves_folder(folder, path):
        raise ValueError("is a link that leaves its folder; put the file itself there")
    return path


def _weights(folder: Path) -> list[Path]:
    """The weight files, all in the folder. Raises ValueError for an index or adapter that refers to other files."""
    if (folder / ELSEWHERE).exists():
        raise ValueError(f"has {ELSEWHERE} beside it, an adapter of another encoder; give the encoder itself")
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        return sorted(folder.glob("*.safetensors"))
    named = read_object(_inside(folder, folder / INDEX), MOST_CONFIG_BYTES).get("weight_map")
    files = (
        set(named.values()) if isinstance(named, dict) and all(isinstance(v, str) for v in named.values()) else set()
    )
    if not files or any(Path(name).name != name or not name.endswith(".safetensors") for name in files):
        raise ValueError(f"has an {INDEX} beside it that names files outside the folder; it is damaged")
    return [folder / name for name in sorted(files)]


def _check_config(config: Mapping[str, Any]) -> None:
    """Raise ValueError for a configuration that asks for code, or has numbers that no encoder has."""
    waiting: list[tuple[str, Any]] = list(config.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value]
        elif isinstance(value, int | float) and not -MOST_NUMBER < value < MOST_NUMBER:  # false for NaN too
            raise ValueError(f"has {key[:80]!r}: {str(value)[:40]}, which no encoder has; it is damaged")
        if type(value) is int and value < 0 and key.endswith(("size", "heads", "layers", "dim", "embeddings")):
            raise ValueError(f"has {key[:80]!r}: {value}, but sizes cannot be negative; it is damaged")
        if key.endswith(("attn_implementation", "experts_implementation")) and value not in PLAIN_ATTENTION:
            raise ValueError(f"asks for the {key[:80]} {value!r:.80}, which would run downloaded code; remove that key")
        if "layer" in key and isinstance(value, int) and value > MOST_LAYERS and not key.endswith(("size", "dim")):
            raise ValueError(
                f"has {key[:80]!r}: {value}, and encoders have at most {MOST_LAYERS} layers; it is damaged"
            )
        if key == "num_labels" and isinstance(value, int) and value > MOST_LABELS:
            raise ValueError(f"has {key!r}: {value}, at most {MOST_LABELS:,} are supported; remove that key")
        if key in ("quantization_config", "compression_config") and value:
            raise ValueError(
                f"has {key!r}: quantized or compressed weights are not supported; give the original encoder"
            )


def _parameters(folder: Path, family: str) -> int:
    """Number of parameters of a configuration's encoder, without allocating it. Raises EncoderError if it cannot be built."""
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.for_model(family).from_pretrained(str(folder))
        check_family(config)
        with torch.device("meta"):
            model = AutoModel.from_config(config)
        return sum(math.prod(parameter.shape) for parameter in encoder_parameters(model))
    except EncoderError:
        raise
    except Exception as error:  # each family checks its settings in its own way, or fails on them
        raise EncoderError(f"{folder / CONFIG}: its encoder cannot be built ({first_line(error)})") from None


def check_finite(model: nn.Module, source: object) -> None:
    """Raise EncoderError when a weight of a model from `source` is nan or infinite.

    Sums first, as a sum is finite only if all its terms are: 20 ms for 90 MB, the speed of memory.
    """
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        value = value.to_local() if hasattr(value, "to_local") else value  # a sharded layer
        if not torch.isfinite(value.sum()) and not torch.isfinite(value).all():
            raise EncoderError(f"{source}: the weight {name} holds numbers that are not finite; copy it again")


def encoder_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of a bare model without its pooler, which checkpoints may lack."""
    return [value for name, value in model.named_parameters() if not name.startswith("pooler.")]
