"""A sentence-embedding head as a folder that `SentenceTransformer()` loads: encoder, pooling, projection, norm, length 1.

Decided here: files are written by hand, in the form that sentence-transformers has read since version 2; what it makes of
them is compared before the folder is there.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from manyheads.errors import UsageError
from manyheads.export.cards import vectors_card
from manyheads.export.folder import write_folder
from manyheads.export.parity import Difference, check
from manyheads.export.stock import encoder_of, one_window, save_tokenizer
from manyheads.nn.encoder import save_encoder

if TYPE_CHECKING:
    import torch

    from manyheads.bundle import Bundle
    from manyheads.export.command import Say

MOST_APART = 1e-5
"""Largest difference of a component, of the largest one (or of 1)."""
TYPE = "sentence_transformers.models."


def export_vectors(bundle: Bundle, name: str, output: Path, say: Say) -> None:
    """Write the folder. Raises UsageError for a head that is none of vectors, or reads a mix of layers."""
    task = bundle.tasks[name]
    if task.kind != "sentence-embedding":
        raise UsageError(f"task '{name}' is {task.kind}; --to sentence-transformers exports sentence-embedding heads")
    if find_spec("sentence_transformers") is None:
        raise UsageError("--to sentence-transformers compares the folder with what that library makes of it; "
                         "pip install 'manyheads[export]'")  # fmt: skip
    encoder = encoder_of(bundle, name)

    def fill(folder: Path) -> None:
        save_encoder(encoder, folder)
        save_tokenizer(bundle, folder, encoder)
        _write_modules(bundle, name, folder, encoder.width)
        found, own_data = _difference(bundle, name, folder)
        say(found.line(own_data))
        check(found, MOST_APART, "the folder, as SentenceTransformer loads it,")
        (folder / "README.md").write_text(vectors_card(bundle, name, found), encoding="utf-8")

    write_folder(output, fill)


def _write_modules(bundle: Bundle, name: str, folder: Path, width: int) -> None:
    """Each module's folder, and the list of them."""
    task: Any = bundle.tasks[name]
    head: Any = bundle.model.heads[name]
    modules = [("", "Transformer")]

    def add(kind: str, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
        place = folder / f"{len(modules)}_{kind}"
        place.mkdir()
        modules.append((place.name, kind))
        if config:
            _write(place / "config.json", config)
        if weights:
            from safetensors.torch import save_file

            save_file({key: value.detach().contiguous() for key, value in weights.items()}, place / "model.safetensors")

    add("Pooling", {
        "word_embedding_dimension": width, "pooling_mode_cls_token": task.pooling == "cls",
        "pooling_mode_mean_tokens": task.pooling == "mean", "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }, {})  # fmt: skip
    if isinstance(head.projection, nn.Linear):
        linear = head.projection
        activation = "activation.Tanh" if task.activation == "tanh" else "linear.Identity"
        config = {"in_features": linear.in_features, "out_features": linear.out_features, "bias": True,
                  "activation_function": f"torch.nn.modules.{activation}"}  # fmt: skip
        add("Dense", config, {"linear.weight": linear.weight, "linear.bias": linear.bias})
    if isinstance(head.norm, nn.LayerNorm):
        add("LayerNorm", {"dimension": head.norm.normalized_shape[0]},
            {"norm.weight": head.norm.weight, "norm.bias": head.norm.bias})  # fmt: skip
    if task.normalize:
        add("Normalize", {}, {})
    _write(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": TYPE + kind} for i, (path, kind) in enumerate(modules)
    ])  # fmt: skip
    _write(folder / "sentence_bert_config.json", {"max_seq_length": bundle.max_length, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _difference(bundle: Bundle, name: str, folder: Path) -> tuple[Difference, bool]:
    """How far vectors of the folder are from ours."""
    import torch
    from sentence_transformers import SentenceTransformer

    from manyheads.predict import Predictor, TorchBackend
    from manyheads.tasks.base import Ask

    asked, own_data = one_window(bundle, pairs=False)
    backend = TorchBackend(bundle.model, torch.device("cpu"))
    predictor = Predictor(backend, bundle.tasks, bundle.tokenizer, max_length=bundle.max_length)
    answered = predictor.answer([{name: Ask(source)} for source, _ in asked])
    expected = np.stack([one.answers[name] for one in answered])
    model = SentenceTransformer(str(folder), device="cpu")
    found = model.encode([source.first for source, _ in asked], show_progress_bar=False)
    largest = float("inf")
    if found.shape == expected.shape:
        largest = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    lengths = [len(window) for _, window in asked]
    return Difference(largest, f"{name}/vector", len(asked), min(lengths), max(lengths)), own_data
