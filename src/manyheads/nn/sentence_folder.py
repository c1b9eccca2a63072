"""How a sentence-transformers folder turns hidden states into vectors.

Decided here: `modules.json` is followed as far as the embedding head can do the same (mean or cls pooling, one dense layer
with Tanh or without activation, length 1), so that the head starts with the folder's own vectors. Other modules are ignored
and reported; their code is never run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from manyheads.nn.safetensors_header import read_header
from manyheads.text.untrusted_files import leaves_folder, read_list, read_object

if TYPE_CHECKING:
    import torch

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
ACTIVATIONS: Mapping[str, Literal["identity", "tanh"]] = {"Identity": "identity", "Tanh": "tanh"}
NOTHING = frozenset({"Transformer", "Normalize", "Dropout"})
"""Modules that change no cosine in evaluation."""
POOLINGS: Mapping[str, Literal["mean", "cls"]] = {
    "cls_token": "cls", "mean_tokens": "mean", "cls": "cls", "mean": "mean"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer after pooling, with its activation."""

    file: Path
    width: int
    activation: Literal["identity", "tanh"]

    def read(self) -> dict[str, torch.Tensor]:
        """`weight`, and `bias` if it has one."""
        from safetensors.torch import load_file

        return {name.removeprefix("linear."): value.float() for name, value in load_file(self.file).items()}


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """The modules of a folder that an embedding head can take over."""

    pooling: Literal["mean", "cls"] | None
    """None where the head does not have it."""
    dense: Dense | None
    prompts: Mapping[str, str]
    """Texts that it puts before others, by name; empty ones are left out."""
    default_prompt_name: str | None
    left_out: tuple[str, ...]
    """What else the folder's own vectors go through, for messages."""


def sentence_folder(folder: Path) -> SentenceFolder | None:
    """The modules of an encoder's folder; None for one that sentence-transformers did not write."""
    path = folder / MODULES
    if not path.is_file():
        return None
    pooling: Literal["mean", "cls"] | None = None
    dense: Dense | None = None
    left_out: list[str] = []
    try:
        for module in read_list(path):
            kind = str(module.get("type", "")).rpartition(".")[2]
            place = folder / str(module.get("path", ""))
            if leaves_folder(folder, place):
                raise ValueError("names a module outside the folder")
            if kind == "Pooling":
                pooling, reason = _pooling(read_object(place / "config.json"))
            elif kind == "Dense" and dense is None and pooling is not None:
                dense, reason = _dense(place)
            else:
                reason = None if kind in NOTHING else f"the module {kind[:80]}"
            left_out += [reason] if reason else []
        prompts, default = _prompts(folder / SETTINGS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return SentenceFolder(None, None, {}, None, (f"everything in {MODULES}, which cannot be read ({str(error)[:100]})",))
    return SentenceFolder(pooling, dense, prompts, default, tuple(left_out))


def _pooling(config: Mapping[str, Any]) -> tuple[Literal["mean", "cls"] | None, str | None]:
    prefix = "pooling_mode_"
    modes = [key.removeprefix(prefix) for key, value in config.items() if key.startswith(prefix) and value]
    given = config.get("pooling_mode")
    modes += [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
    if len(modes) == 1 and modes[0] in POOLINGS:
        return POOLINGS[modes[0]], None
    return None, f"its pooling, {' and '.join(map(str, modes))[:80] or 'none'} (only mean and cls are supported)"


def _dense(place: Path) -> tuple[Dense | None, str | None]:
    config, file = read_object(place / "config.json"), place / "model.safetensors"
    name = str(config.get("activation_function", "")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        return None, f"its dense layer, whose activation {name[:80]} is not supported (only Tanh and Identity are)"
    inside = {config.get(f"module_{end}_name", "sentence_embedding") for end in ("input", "output")}
    if inside - {"sentence_embedding", None}:
        return None, "its dense layer, which is not on sentence vectors"
    if not file.is_file():
        return None, "its dense layer, whose weights are not in safetensors; save it again with sentence-transformers"
    shape = read_header(file)["linear.weight"].shape
    return Dense(file, shape[0], ACTIVATIONS[name]), None


def _prompts(path: Path) -> tuple[dict[str, str], str | None]:
    """The prompts by name, and the name of the default one."""
    settings = read_object(path) if path.is_file() else {}
    given = settings.get("prompts") or {}
    prompts = {str(name): text for name, text in given.items() if isinstance(text, str) and text}
    default = settings.get("default_prompt_name")
    return prompts, default if default in prompts else None
