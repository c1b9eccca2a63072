"""Low-rank adapters on an encoder's linear layers, through peft (Hu et al. 2022).

peft inserts the adapters. `merge` creates new weights and leaves the old ones alone, as adapters of several tasks may share a
base weight. Files are in peft's own format, so `PeftModel.from_pretrained(base, folder)` reads them too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from manyheads.errors import BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from manyheads.nn.encoder import Encoder

ADAPTER = "default"
"""peft's name for the adapter inside a module."""
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
"""Prefix of the names of weights in peft's files."""
LOW = ".lora_A.weight"
BIASES = ("none", "all", "lora_only")
HARMLESS = frozenset({
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r",
    "lora_alpha", "lora_dropout", "bias", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "init_lora_weights",
})  # fmt: skip
"""Settings of peft that are supported, or do not matter once an adapter is trained."""
QUERY_AND_VALUE: Mapping[str, tuple[str, ...]] = {
    "distilbert": ("q_lin", "v_lin"),
    "modernbert": ("Wqkv",),
    "mpnet": ("q", "v"),
    "deberta-v2": ("query_proj", "value_proj"),
    "deberta": ("in_proj",),
    "nomic_bert": ("q_proj", "v_proj"),
}
"""Names of the query and value projections other than `query` and `value`. ModernBERT has all three in one."""


@dataclass(frozen=True, slots=True)
class Lora:
    """Settings of one adapter."""

    rank: int = 8
    alpha: int = 16
    """The update is scaled by `alpha / rank`."""
    dropout: float = 0.1
    targets: tuple[str, ...] = ()
    """Last part of the names of the linear modules; empty for the family's query and value."""
    layers: tuple[int, ...] = ()
    """Layers, from 0; empty for all."""
    bias: Literal["none", "all", "lora_only"] = "none"


def add_adapter(encoder: Encoder, lora: Lora) -> None:
    """Add an adapter in place; from then on only it requires gradients. Raises UsageError when nothing matches."""
    targets = set(lora.targets or QUERY_AND_VALUE.get(encoder.config.model_type, ("query", "value")))
    layers = encoder.layer_modules()
    chosen = {id(m) for i in adapted_layers(encoder, lora) for m in layers[i].modules()}
    linear = {name: name.rpartition(".")[2] for name, m in _linears(encoder).items() if id(m) in chosen}
    missing = sorted(targets - set(linear.values()))
    if missing:
        raise UsageError(f"lora.targets: '{missing[0]}' matches no linear module of the chosen layers; they have "
                         f"{', '.join(sorted(set(linear.values())))}")  # fmt: skip
    _inject(encoder, [name for name, last in linear.items() if last in targets], lora)


def adapted_layers(encoder: Encoder, lora: Lora) -> list[int]:
    """Layers that an adapter goes into, from 0. Raises UsageError for one past the depth."""
    beyond = [layer for layer in lora.layers if not 0 <= layer < encoder.depth]
    if beyond:
        raise UsageError(
            f"lora.layers names layer {beyond[0]}, but the encoder has layers 0 to {encoder.depth - 1}; remove it"
        )
    return sorted(set(lora.layers)) if lora.layers else list(range(encoder.depth))


def adapters_of(encoder: Encoder) -> dict[str, nn.Module]:
    """peft's modules in an encoder, by name; empty without an adapter."""
    return {name: module for name, module in encoder.model.named_modules() if hasattr(module, "lora_A")}


def merge(encoder: Encoder) -> dict[str, torch.Tensor]:
    """Replace each adapted module by a plain one with `W + alpha / rank * B A`, in place.

    Returns the replaced base weights by their names in the encoder's model, which `write_adapter` does not write.
    """
    replaced: dict[str, torch.Tensor] = {}
    for name, found in adapters_of(encoder).items():
        module: Any = found
        base = module.get_base_layer()
        plain = nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
        with torch.no_grad():
            plain.weight = nn.Parameter(base.weight + module.get_delta_weight(ADAPTER).to(base.weight.dtype))
        if base.bias is not None:
            plain.bias = base.bias
        plain.train(module.training)
        parent, _, last = name.rpartition(".")
        setattr(encoder.model.get_submodule(parent), last, plain)
        replaced[f"{name}.weight"] = base.weight.detach()
    if replaced and hasattr(encoder.model, "peft_config"):
        del encoder.model.peft_config  # or a second adapter would be added to the first
    return replaced


@dataclass(frozen=True, slots=True)
class Adapter:
    """Trained weights and settings of an adapter, as peft writes them."""

    config: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]


def take_adapter(encoder: Encoder, lora: Lora, base: str) -> Adapter:
    """The adapter inside an encoder; `base` names the encoder it was trained on."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    found = get_peft_model_state_dict(encoder.model, adapter_name=ADAPTER, save_embedding_layers=False)
    weights = {PREFIX + name: value.detach().cpu().contiguous() for name, value in found.items()}
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=sorted(adapters_of(encoder)),
        bias=lora.bias, base_model_name_or_path=base, inference_mode=True, task_type="FEATURE_EXTRACTION",
    ).to_dict()  # type: ignore[no-untyped-call]  # fmt: skip
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    return Adapter(json.loads(json.dumps(plain, default=str)), weights)


def write_adapter(adapter: Adapter, folder: Path) -> None:
    """Write peft's two files."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(adapter.config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(dict(adapter.weights), folder / WEIGHTS, metadata={"format": "pt"})


def read_adapter(encoder: Encoder, folder: Path) -> None:
    """Merge the adapter of a folder into an encoder. Raises BundleError when it does not fit.

    The adapted modules are read from the weights: peft's settings may name only the ends of their names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = {name.removeprefix(PREFIX): value for name, value in load_file(folder / WEIGHTS).items()}
        lora = _settings(config, folder / CONFIG)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BundleError(f"the adapter {folder} cannot be read ({error}); copy it again") from None
    modules = sorted(name.removesuffix(LOW) for name in weights if name.endswith(LOW))
    if not modules:
        raise BundleError(f"{folder / WEIGHTS} adapts no linear module; copy it again")
    linear = _linears(encoder)
    for name in modules:
        if name not in linear:
            raise BundleError(
                f"{folder / WEIGHTS} adapts {name}, which the encoder does not have; it belongs to another base"
            )
        if len(weights[name + LOW]) != lora.rank:  # before anything of this rank is allocated
            raise BundleError(f"{folder / WEIGHTS} does not fit its configuration at {name}{LOW}; copy it again")
    _inject(encoder, modules, lora)
    _load(encoder, weights, folder / WEIGHTS)
    merge(encoder)


def _settings(config: Mapping[str, Any], file: Path) -> Lora:
    """Settings from peft's file. Raises BundleError for those that change what a low-rank adapter computes."""
    from peft import LoraConfig

    usual = LoraConfig().to_dict()  # type: ignore[no-untyped-call]
    unusual = [key for key in config if key not in HARMLESS and config[key] and config[key] != usual.get(key)]
    if config.get("init_lora_weights") not in (True, False, None, "gaussian"):
        unusual.append("init_lora_weights")  # the others change the base weights first
    if config["peft_type"] != "LORA" or unusual:
        what = f"{unusual[0]}: {config[unusual[0]]}" if unusual else f"peft_type: {config['peft_type']}"
        raise BundleError(f"{file} has {what}, which is not supported; only plain adapters of linear modules are")
    rank, alpha, bias = config["r"], config["lora_alpha"], config["bias"]
    if not isinstance(rank, int) or rank < 1 or alpha != int(alpha) or bias not in BIASES:
        raise ValueError(f"r is {rank!r}, lora_alpha is {alpha!r}, bias is {bias!r}")
    return Lora(rank, int(alpha), 0.0, bias=bias)


def _inject(encoder: Encoder, modules: list[str], lora: Lora) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=modules, bias=lora.bias,
    )  # fmt: skip
    inject_adapter_in_model(config, encoder.model, adapter_name=ADAPTER)
    encoder.train(encoder.training)


def _load(encoder: Encoder, weights: Mapping[str, torch.Tensor], file: Path) -> None:
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    own = get_peft_model_state_dict(encoder.model, adapter_name=ADAPTER, save_embedding_layers=False)
    for name in sorted(own.keys() | weights.keys()):
        if name not in own or name not in weights or own[name].shape != weights[name].shape:
            raise BundleError(f"{file} does not fit its configuration at {name}; copy the model folder again")
    set_peft_model_state_dict(encoder.model, dict(weights), adapter_name=ADAPTER)


def _linears(encoder: Encoder) -> dict[str, nn.Linear]:
    return {name: module for name, module in encoder.model.named_modules() if isinstance(module, nn.Linear)}
