"""A head of vectors as a folder that `SentenceTransformer()` loads: the encoder, and the modules that the task names.

Decided here: files are written by hand, in the form that sentence-transformers has read since version 2; what it makes of
them is compared before the folder is there.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import UsageError
from manyheads.export.cards import vectors_card
from manyheads.export.folder import write_folder
from manyheads.export.parity import Difference, check
from manyheads.export.stock import encoder_of, one_window, save_tokenizer
from manyheads.nn.encoder import save_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyheads.bundle import Bundle
    from manyheads.export.command import Say
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.stock import SentenceModule

MOST_APART = 1e-5
"""Largest difference of a component, of the largest one (or of 1)."""
TYPE = "sentence_transformers.models."


def export_vectors(bundle: Bundle, name: str, output: Path, say: Say) -> None:
    """Write the folder. Raises UsageError for a head that is none of vectors, or reads a mix of layers."""
    encoder = encoder_of(bundle, name)
    modules = modules_of(bundle, name, encoder)
    if find_spec("sentence_transformers") is None:
        raise UsageError("--to sentence-transformers compares the folder with what that library makes of it; "
                         "pip install 'manyheads[export]'")  # fmt: skip

    def fill(folder: Path) -> None:
        save_encoder(encoder, folder)
        save_tokenizer(bundle, folder, encoder)
        _write_modules(folder, modules, bundle.max_length)
        found, own_data = _difference(bundle, name, folder)
        say(found.line(own_data))
        check(found, MOST_APART, "the folder, as SentenceTransformer loads it,")
        (folder / "README.md").write_text(vectors_card(bundle, name, found), encoding="utf-8")

    write_folder(output, fill)


def modules_of(bundle: Bundle, name: str, encoder: Encoder) -> Sequence[SentenceModule]:
    """The modules of a head. Raises UsageError for one that has none."""
    task = bundle.tasks[name]
    modules = task.sentence_modules(bundle.model.heads[name], encoder.width)
    if modules is None:
        if task.answer_form == "vector":
            why = "for which sentence-transformers has no modules; export it with --to onnx"
        else:
            why = "whose answers are no vectors; export it with --to transformers or --to onnx"
        raise UsageError(f"task '{name}' is {task.kind}, {why}")
    return modules


def _write_modules(folder: Path, modules: Sequence[SentenceModule], max_length: int) -> None:
    """Each module's folder, and the list of them."""
    listed = [("", "Transformer"), *((f"{i}_{module.kind}", module.kind) for i, module in enumerate(modules, 1))]
    for module, (name, _) in zip(modules, listed[1:], strict=True):
        place = folder / name
        place.mkdir()
        if module.config:
            _write(place / "config.json", module.config)
        if module.weights:
            from safetensors.torch import save_file

            weights = {key: value.detach().contiguous() for key, value in module.weights.items()}
            save_file(weights, place / "model.safetensors")
    _write(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": TYPE + kind} for i, (path, kind) in enumerate(listed)
    ])  # fmt: skip
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _difference(bundle: Bundle, name: str, folder: Path) -> tuple[Difference, bool]:
    """How far vectors of the folder are from ours."""
    import torch
    from sentence_transformers import SentenceTransformer

    from manyheads.predict import Predictor, TorchBackend
    from manyheads.tasks.base import EncoderInput

    asked, own_data = one_window(bundle, pairs=False)
    backend = TorchBackend(bundle.model, torch.device("cpu"))
    predictor = Predictor(backend, bundle.tasks, bundle.tokenizer, max_length=bundle.max_length)
    answered = predictor.answer([{name: EncoderInput(source)} for source, _ in asked])
    expected = np.stack([one.answers[name] for one in answered])
    model = SentenceTransformer(str(folder), device="cpu")
    found = model.encode([source.first for source, _ in asked], show_progress_bar=False)
    largest = float("inf")
    if found.shape == expected.shape:
        largest = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    lengths = [len(window) for _, window in asked]
    return Difference(largest, f"{name}/vector", len(asked), min(lengths), max(lengths)), own_data
