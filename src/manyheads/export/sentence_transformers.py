"""An embedding head as a folder for `SentenceTransformer()`: the encoder, and modules that the task names.

Decided here: files are written by hand, in the format that sentence-transformers has read since version 2, and checked by
loading them with it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch

from manyheads.errors import UsageError
from manyheads.export.cards import sentence_transformers_card
from manyheads.export.folder import write_folder
from manyheads.export.parity import Difference, relative_difference
from manyheads.export.single_head import encoder_of, one_window, save_tokenizer, write_json
from manyheads.nn.pretrained import save_encoder
from manyheads.predict import Predictor, TorchBackend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from manyheads.bundle import Bundle
    from manyheads.export.request import Log
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.stock import SentenceModule

MAX_DIFFERENCE = 1e-5
"""Of vectors, as `relative_difference` measures it."""
MODULE_PREFIX = "sentence_transformers.models."


def export_sentence_transformers(bundle: Bundle, name: str, output: Path, log: Log) -> None:
    """Write the folder. Raises UsageError for a head that does not give vectors, or reads a mix of layers."""
    encoder = encoder_of(bundle, name)
    modules = _modules(bundle, name, encoder)
    if find_spec("sentence_transformers") is None:
        raise UsageError("--to sentence-transformers needs that library to check the folder; "
                         "pip install 'path/to/manyheads[export]'")  # fmt: skip

    def fill(folder: Path) -> None:
        save_encoder(encoder, folder)
        save_tokenizer(bundle, folder, encoder)
        _write_modules(folder, modules, bundle.max_length)
        settings = {"similarity_fn_name": "cosine", **bundle.tasks[name].sentence_settings()}
        write_json(folder / "config_sentence_transformers.json", settings)
        found, own_data = _difference(bundle, name, folder)
        log(found.line(own_data))
        found.check(MAX_DIFFERENCE, "the folder, as SentenceTransformer loads it,")
        (folder / "README.md").write_text(sentence_transformers_card(bundle, name, found), encoding="utf-8")

    write_folder(output, fill)


def _modules(bundle: Bundle, name: str, encoder: Encoder) -> Sequence[SentenceModule]:
    """The modules of a head. Raises UsageError if it has none."""
    task = bundle.tasks[name]
    modules = task.sentence_modules(bundle.model.heads[name], encoder.width)
    if modules is None:
        if task.answer_form == "vector":
            why = "for which sentence-transformers has no modules; export it with --to onnx"
        else:
            why = "whose answers are not vectors; export it with --to transformers or --to onnx"
        raise UsageError(f"task '{name}' is {task.kind}, {why}")
    return modules


def _write_modules(folder: Path, modules: Sequence[SentenceModule], max_length: int) -> None:
    """Write each module's folder, and the list of modules."""
    listed = [("", "Transformer"), *((f"{i}_{module.kind}", module.kind) for i, module in enumerate(modules, 1))]
    for module, (name, _) in zip(modules, listed[1:], strict=True):
        place = folder / name
        place.mkdir()
        if module.config:
            write_json(place / "config.json", module.config)
        if module.weights:
            from safetensors.torch import save_file

            weights = {key: value.detach().contiguous() for key, value in module.weights.items()}
            save_file(weights, place / "model.safetensors")
    write_json(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": MODULE_PREFIX + kind} for i, (path, kind) in enumerate(listed)
    ])  # fmt: skip
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def _difference(bundle: Bundle, name: str, folder: Path) -> tuple[Difference, bool]:
    """The difference between vectors of the folder, as SentenceTransformer loads it, and ours, under each prompt."""
    from sentence_transformers import SentenceTransformer

    asked, own_data = one_window(bundle, pairs=False)
    backend = TorchBackend(bundle.model, torch.device("cpu"))
    predictor = Predictor(backend, bundle.tasks, bundle.tokenizer, max_length=bundle.max_length)
    model = SentenceTransformer(str(folder), device="cpu")
    differences, windows = [], []
    for prompt in (None, *bundle.tasks[name].sentence_settings().get("prompts", {})):
        rows = [{"text": source.first, "input_type": prompt} for source, _ in asked]
        inputs = [entry for row in rows if isinstance(entry := predictor.inputs_of(row, [name]), dict)]
        encoded = bundle.tokenizer.encode([entry[name].source for entry in inputs], bundle.max_length)
        short = [i for i, found in enumerate(encoded) if len(found) == 1]  # a prompt may make a text too long
        answered = predictor.answer([inputs[i] for i in short])
        found = model.encode([rows[i]["text"] for i in short], prompt_name=prompt, show_progress_bar=False)
        expected = np.stack([one.answers[name] for one in answered])
        differences.append((relative_difference(expected, found), f"{name}/vector"))
        windows += [encoded[i][0] for i in short]
    return Difference.of(differences, windows), own_data
