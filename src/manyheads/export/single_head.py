"""One head with its encoder and tokenizer, for other libraries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from manyheads.errors import UsageError
from manyheads.export.parity import own_tables, texts
from manyheads.nn.batch_encoder import input_names
from manyheads.text.pack import TYPES

if TYPE_CHECKING:
    from pathlib import Path

    from manyheads.bundle import Bundle
    from manyheads.nn.encoder import Encoder
    from manyheads.text.pack import Encoding, Source


def encoder_of(bundle: Bundle, name: str) -> Encoder:
    """The encoder of a head. Raises UsageError if it reads a mix of layers."""
    if name in bundle.model.mixes:
        raise UsageError(f"task '{name}' reads a learned mix of layers (`layer_mix`), which models of other libraries "
                         "cannot do; export it with --to onnx")  # fmt: skip
    branch = bundle.model.branch_of(name)
    return branch.encoder if branch else bundle.model.encoder


def save_tokenizer(bundle: Bundle, folder: Path, encoder: Encoder) -> None:
    """Write the tokenizer, set to truncate at our window length and to give the inputs that the encoder takes."""
    bundle.tokenizer.save(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model_max_length"] = bundle.max_length
    types = [TYPES] if TYPES in input_names(encoder) else []
    config["model_input_names"] = ["input_ids", *types, "attention_mask"]
    write_json(path, config, ensure_ascii=False)


def write_json(path: Path, value: Any, *, ensure_ascii: bool = True) -> None:
    """A JSON file as Hugging Face libraries write it."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=ensure_ascii) + "\n", encoding="utf-8")


def one_window(bundle: Bundle, pairs: bool) -> tuple[list[tuple[Source, Encoding]], bool]:
    """Texts (or pairs) of one window each, with the window; and whether the model's own validation data is among them.

    None is empty: transformers' tokenizers take a pair with an empty passage for a single text. None spells the padding
    token, which RoBERTa and MPNet in transformers treat as padding wherever it stands.
    """
    tables = own_tables(bundle)
    fitting = [
        source for source in texts(bundle, tables)
        if (source.second is not None) == pairs and source.first.strip() and (source.second is None or source.second.strip())
    ]  # fmt: skip
    encoded = bundle.tokenizer.encode(fitting, bundle.max_length)
    found = [(source, windows[0]) for source, windows in zip(fitting, encoded, strict=True) if len(windows) == 1]
    return [(source, window) for source, window in found if bundle.tokenizer.pad_id not in window.ids_L], bool(tables)
