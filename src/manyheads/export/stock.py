"""One head as a stock class of transformers: `pipeline()` and `AutoModelFor...` load it with none of our code.

Decided here: the class is the encoder family's own. Our weights are laid into it, and it is refused unless that fills it
exactly: what stock classes put between hidden states and labels differs by family. Which class that is, and which layer goes
where, each task says of its head.
"""

from __future__ import annotations

import copy
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from manyheads.errors import UsageError
from manyheads.export.cards import stock_card
from manyheads.export.folder import write_folder
from manyheads.export.parity import Difference, check, own_tables, texts
from manyheads.predict import TorchBackend

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.export.command import Say
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.stock import StockClass
    from manyheads.text.pack import Encoding, Source

MOST_APART = 1e-5
"""Largest difference of logits, of the largest logit (or of 1)."""


def export_stock(bundle: Bundle, name: str, output: Path, say: Say) -> None:
    """Write the folder of one head. Raises UsageError with the reason why the head has no stock class."""
    encoder = encoder_of(bundle, name)
    held = held_by(bundle, name, encoder)

    def fill(folder: Path) -> None:
        stock = filled(encoder, held, name)
        stock.save_pretrained(folder)
        save_tokenizer(bundle, folder, encoder)
        found, own_data = _difference(bundle, name, folder, held)
        say(found.line(own_data))
        check(found, MOST_APART, f"{type(stock).__name__}, as transformers loads it,")
        card = stock_card(bundle, name, held, type(stock).__name__, found)
        (folder / "README.md").write_text(card, encoding="utf-8")

    write_folder(output, fill)


def encoder_of(bundle: Bundle, name: str) -> Encoder:
    """The encoder that a head reads. Raises UsageError when it reads a mix of layers."""
    if name in bundle.model.mixes:
        raise UsageError(f"task '{name}' reads a learned mix of layers (`layer_mix`), for which models of other tools have "
                         "no place; export it with --to onnx")  # fmt: skip
    branch = bundle.model.branch_of(name)
    return branch.encoder if branch else bundle.model.encoder


def held_by(bundle: Bundle, name: str, encoder: Encoder) -> StockClass:
    """The stock class of a head, with what fills it. Raises UsageError with the reason why there is none."""
    task, head = bundle.tasks[name], bundle.model.heads[name]
    held = task.stock_class(head, encoder.config.model_type, encoder.width)
    if held is None:
        target = "onnx" if task.sentence_modules(head, encoder.width) is None else "sentence-transformers"
        raise UsageError(
            f"task '{name}' is {task.kind}, for which transformers has no class; export it with --to {target}"
        )
    return held


def filled(encoder: Encoder, held: StockClass, name: str) -> Any:
    """The stock class with our weights. Raises UsageError unless they fill it exactly."""
    import transformers

    config = copy.deepcopy(encoder.config)
    config._attn_implementation = None  # whatever the family has
    for key, value in held.config.items():
        setattr(config, key, value)
    family = config.model_type
    try:
        stock: Any = getattr(transformers, held.auto).from_config(config).eval()
    except ValueError:
        raise UsageError(
            f"transformers has no {held.auto} of the family '{family}'; export task '{name}' with --to onnx"
        ) from None
    weights = {f"{stock.base_model_prefix}.{key}": value for key, value in encoder.model.state_dict().items()}
    for layer, (weight, bias) in held.layers.items():
        weights |= {f"{layer}.weight": weight, f"{layer}.bias": bias}
    own = {key: tuple(value.shape) for key, value in stock.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in weights.items()}
    if own != given:
        other = sorted(key for key in own.keys() | given.keys() if own.get(key) != given.get(key))
        raise UsageError(f"{type(stock).__name__} is built otherwise than task '{name}' (at {other[0]}), so it cannot hold "
                         "it; export it with --to onnx")  # fmt: skip
    stock.load_state_dict(weights)
    return stock


def save_tokenizer(bundle: Bundle, folder: Path, encoder: Encoder) -> None:
    """The tokenizer's files; texts are cut where our windows end, and token types go to encoders that have some alone."""
    bundle.tokenizer.save(folder)
    path = folder / "tokenizer_config.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    typed = getattr(encoder.config, "type_vocab_size", 0) > 1
    typed = typed and "token_type_ids" in inspect.signature(encoder.model.forward).parameters
    said["model_max_length"] = bundle.max_length
    said["model_input_names"] = ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"]
    path.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def one_window(bundle: Bundle, pairs: bool) -> tuple[list[tuple[Source, Encoding]], bool]:
    """Texts (or pairs) that fit one window, with it; and whether they are of the model's own validation data.

    None is empty: transformers' tokenizers take a pair with an empty passage for a single text. None spells the padding
    token, which stock RoBERTa and MPNet take for padding wherever it stands.
    """
    tables = own_tables(bundle)
    fitting = [
        source for source in texts(bundle, tables)
        if (source.second is not None) == pairs and source.first.strip() and (source.second is None or source.second.strip())
    ]  # fmt: skip
    windows = bundle.tokenizer.encode(fitting, bundle.max_length)
    whole = [(source, asked[0]) for source, asked in zip(fitting, windows, strict=True) if len(asked) == 1]
    return [(source, window) for source, window in whole if bundle.tokenizer.pad_id not in window.ids_L], bool(tables)


def _difference(bundle: Bundle, name: str, folder: Path, held: StockClass) -> tuple[Difference, bool]:
    """How far the folder, as transformers loads it, is from the model; relative to the largest logit, if above 1."""
    import transformers

    stock = getattr(transformers, held.auto).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    asked, own_data = one_window(bundle, held.pairs)
    ours = TorchBackend(bundle.model, torch.device("cpu"))
    largest, where, lengths = -1.0, "none", []
    for source, window in asked:
        texts_of = (source.first,) if source.second is None else (source.first, source.second)
        inputs = tokenizer(*texts_of, return_tensors="pt")
        lengths.append(len(window))
        if inputs["input_ids"][0].tolist() != window.ids_L.tolist():
            raise UsageError(f"transformers' tokenizer reads {source.first[:60]!r} as other tokens than ours, so answers "
                             f"would differ; export task '{name}' with --to onnx")  # fmt: skip
        expected = ours.run([window], [name])[name]
        with torch.inference_mode():
            seen = stock(**inputs)
        for theirs, key in held.outputs.items():
            value = expected[key] / held.temperature
            found = getattr(seen, theirs)[0].numpy().reshape(value.shape)
            apart = float(np.abs(found - value).max() / max(1.0, float(np.abs(value).max())))
            if not apart <= largest:
                largest, where = apart, f"{name}/{key}"
    return Difference(largest, where, len(lengths), min(lengths), max(lengths)), own_data
