"""A folder of sentence-transformers as an encoder: how its own vectors are made of the hidden states.

Decided here: `modules.json` is followed as far as the embedding head can do the same (mean or cls pooling, one dense layer
with Tanh or without activation, length 1), so that the head begins with the folder's own vectors. Whatever else it names is
left out, and said; nothing of it is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from manyheads.nn.stored import stored_tensors
from manyheads.text.plain_files import leads_out, read_list, read_object

if TYPE_CHECKING:
    import torch

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
ACTIVATIONS: Mapping[str, Literal["identity", "tanh"]] = {"Identity": "identity", "Tanh": "tanh"}
NOTHING = frozenset({"Transformer", "Normalize", "Dropout"})
"""Modules that change no cosine in answering."""
POOLINGS: Mapping[str, Literal["mean", "cls"]] = {
    "cls_token": "cls",
    "mean_tokens": "mean",
    "cls": "cls",
    "mean": "mean",
}


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer after pooling, and what follows it."""

    file: Path
    width: int
    activation: Literal["identity", "tanh"]

    def read(self) -> dict[str, torch.Tensor]:
        """`weight`, and `bias` if it has one."""
        from safetensors.torch import load_file

        return {name.removeprefix("linear."): value.float() for name, value in load_file(self.file).items()}


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """What the modules of a folder come to."""

    pooling: Literal["mean", "cls"] | None
    """None: of a kind that the head does not have."""
    dense: Dense | None
    left_out: tuple[str, ...]
    """What the folder's own vectors have besides, for people."""


def sentence_folder(folder: Path) -> SentenceFolder | None:
    """The modules of an encoder's folder; None for one that is not of sentence-transformers."""
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
            if leads_out(folder, place):
                raise ValueError("names a module outside of the folder")
            if kind == "Pooling":
                pooling, reason = _pooling(read_object(place / "config.json"))
            elif kind == "Dense" and dense is None and pooling is not None:
                dense, reason = _dense(place)
            else:
                reason = None if kind in NOTHING else f"the module {kind[:80]}"
            left_out += [reason] if reason else []
        left_out += _prompt(folder / SETTINGS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return SentenceFolder(
            None, None, (f"everything that {MODULES} names, which cannot be read ({str(error)[:100]})",)
        )
    return SentenceFolder(pooling, dense, tuple(left_out))


def _pooling(config: Mapping[str, Any]) -> tuple[Literal["mean", "cls"] | None, str | None]:
    modes = [
        key.removeprefix("pooling_mode_") for key, value in config.items() if key.startswith("pooling_mode_") and value
    ]
    given = config.get("pooling_mode")
    modes += [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
    if len(modes) == 1 and modes[0] in POOLINGS:
        return POOLINGS[modes[0]], None
    return None, f"its pooling, {' and '.join(map(str, modes))[:80] or 'none'} (mean and cls are known)"


def _dense(place: Path) -> tuple[Dense | None, str | None]:
    config, file = read_object(place / "config.json"), place / "model.safetensors"
    name = str(config.get("activation_function", "")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        return None, f"its dense layer, whose activation {name[:80]} is not known (Tanh and Identity are)"
    inside = {config.get(f"module_{end}_name", "sentence_embedding") for end in ("input", "output")}
    if inside - {"sentence_embedding", None}:
        return None, "its dense layer, which is not one on sentences"
    if not file.is_file():
        return (
            None,
            "its dense layer, whose weights are not in safetensors; save the folder again with sentence-transformers",
        )
    shape = stored_tensors(file)["linear.weight"].shape
    return Dense(file, shape[0], ACTIVATIONS[name]), None


def _prompt(path: Path) -> list[str]:
    if not path.is_file():
        return []
    said = read_object(path)
    name, prompts = said.get("default_prompt_name"), said.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, dict) and name else None
    return [f"its prompt {prompt!r:.80}, which is put before every text there"] if prompt else []
