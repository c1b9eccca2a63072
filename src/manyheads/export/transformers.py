"""One head as a transformers model, which `pipeline()` and `AutoModelFor...` load without any of our code.

Decided here: the class is the encoder family's own, and our weights must fill it exactly. What these classes put between
hidden states and labels differs by family, so each task chooses its class and names the layers.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from manyheads.errors import UsageError
from manyheads.export.cards import transformers_card
from manyheads.export.folder import write_folder
from manyheads.export.parity import Difference, relative_difference
from manyheads.export.single_head import encoder_of, one_window, save_tokenizer
from manyheads.predict import TorchBackend

if TYPE_CHECKING:
    from pathlib import Path

    from manyheads.bundle import Bundle
    from manyheads.export.request import Log
    from manyheads.nn.encoder import Encoder
    from manyheads.tasks.stock import StockClass

MAX_DIFFERENCE = 1e-5
"""Of logits, as `relative_difference` measures it."""


def export_transformers(bundle: Bundle, name: str, output: Path, log: Log) -> None:
    """Write the folder of one head. Raises UsageError with the reason if transformers has no class for it."""
    encoder = encoder_of(bundle, name)
    stock = _stock_class(bundle, name, encoder)

    def fill(folder: Path) -> None:
        model = _model(encoder, stock, name)
        model.save_pretrained(folder)
        save_tokenizer(bundle, folder, encoder)
        found, own_data = _difference(bundle, name, folder, stock)
        log(found.line(own_data))
        found.check(MAX_DIFFERENCE, f"{type(model).__name__}, as transformers loads it,")
        card = transformers_card(bundle, name, stock, type(model).__name__, found)
        (folder / "README.md").write_text(card, encoding="utf-8")

    write_folder(output, fill)


def _stock_class(bundle: Bundle, name: str, encoder: Encoder) -> StockClass:
    """The class for a head, with the weights to fill it. Raises UsageError with the reason if there is none."""
    task, head = bundle.tasks[name], bundle.model.heads[name]
    stock = task.stock_class(head, encoder.config.model_type, encoder.width)
    if stock is None:
        target = "onnx" if task.sentence_modules(head, encoder.width) is None else "sentence-transformers"
        raise UsageError(
            f"task '{name}' is {task.kind}, for which transformers has no class; export it with --to {target}"
        )
    return stock


def _model(encoder: Encoder, stock: StockClass, name: str) -> Any:
    """The transformers model with our weights. Raises UsageError unless they fill it exactly."""
    import transformers

    config = copy.deepcopy(encoder.config)
    config._attn_implementation = None  # the family's default
    for key, value in stock.config.items():
        setattr(config, key, value)
    family = config.model_type
    try:
        model: Any = getattr(transformers, stock.auto).from_config(config).eval()
    except ValueError:
        raise UsageError(
            f"transformers has no {stock.auto} of the family '{family}'; export task '{name}' with --to onnx"
        ) from None
    weights = {f"{model.base_model_prefix}.{key}": value for key, value in encoder.model.state_dict().items()}
    for layer, (weight, bias) in stock.layers.items():
        weights |= {f"{layer}.weight": weight, f"{layer}.bias": bias}
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in weights.items()}
    if expected != given:
        other = min(key for key in expected.keys() | given.keys() if expected.get(key) != given.get(key))
        raise UsageError(f"{type(model).__name__} has a different structure from task '{name}' (at {other}), so it cannot "
                         "hold it; export it with --to onnx")  # fmt: skip
    model.load_state_dict(weights)
    return model


def _difference(bundle: Bundle, name: str, folder: Path, stock: StockClass) -> tuple[Difference, bool]:
    """The difference of logits between the folder, as transformers loads it, and the model."""
    import transformers

    model = getattr(transformers, stock.auto).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    asked, own_data = one_window(bundle, stock.pairs)
    ours = TorchBackend(bundle.model, torch.device("cpu"))
    differences = []
    for source, window in asked:
        texts = (source.first,) if source.second is None else (source.first, source.second)
        inputs = tokenizer(*texts, return_tensors="pt")
        if inputs["input_ids"][0].tolist() != window.ids_L.tolist():
            raise UsageError(f"transformers' tokenizer splits {source.first[:60]!r} into other tokens than ours, so answers "
                             f"would differ; export task '{name}' with --to onnx")  # fmt: skip
        expected = ours.run([window], [name])[name]
        with torch.inference_mode():
            found = model(**inputs)
        for theirs, key in stock.outputs.items():
            value = expected[key] / stock.temperature
            logits = getattr(found, theirs)[0].numpy().reshape(value.shape)
            differences.append((relative_difference(value, logits), f"{name}/{key}"))
    return Difference.of(differences, [window for _, window in asked]), own_data
