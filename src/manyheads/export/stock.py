"""One head as a stock class of transformers: `pipeline()` and `AutoModelFor...` load it with none of our code.

Decided here:
- The class is the encoder family's own. Our weights are laid into it, and it is refused unless that fills it exactly: what
  stock classes put between hidden states and labels differs by family.
- A `cls` head with a hidden layer is the classification head of BERT, RoBERTa and their kin; one narrower than the encoder
  is widened by zeros. Without a hidden layer those classes still have one, with tanh: it is made linear by working at
  `NEARLY_LINEAR` of the scale, where tanh(x) is x to 1e-6 even for x = 15. Such a model should not be run in float16.
- DistilBERT's (ReLU), ELECTRA's (GELU) and ModernBERT's (GELU and a norm) classes have no place for our heads.
- A CRF is refused: without its transitions the emissions alone would be decoded to something else.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from manyheads.errors import UsageError
from manyheads.export.cards import stock_card
from manyheads.export.folder import write_folder
from manyheads.export.parity import Difference, check, own_tables, texts
from manyheads.predict import TorchBackend

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.export.command import Say
    from manyheads.nn.encoder import Encoder
    from manyheads.text.pack import Encoding, Source

MOST_APART = 1e-5
"""Largest difference of logits, of the largest logit (or of 1)."""
NEARLY_LINEAR = 2.0**-14
TANH: Mapping[str, tuple[str, str]] = {
    "bert": ("bert.pooler.dense", "classifier"),
    "deberta-v2": ("pooler.dense", "classifier"),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), ("classifier.dense", "classifier.out_proj")),
}
"""Families whose class for texts reads the first token by a square layer, tanh and a linear layer; their names there."""
CLASSES = {
    "token-classification": "AutoModelForTokenClassification",
    "text-classification": "AutoModelForSequenceClassification",
    "question-answering": "AutoModelForQuestionAnswering",
}
OUTPUTS: Mapping[str, Mapping[str, str]] = {
    "token-classification": {"logits": "logits_TK"},
    "text-classification": {"logits": "logits_SK"},
    "question-answering": {"start_logits": "start_T", "end_logits": "end_T"},
}
Linear = tuple[torch.Tensor, torch.Tensor]
"""Weight and bias."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a stock class is to be filled with."""

    auto: str
    layers: Mapping[str, Linear]
    """Linear layers by their names in the class."""
    config: Mapping[str, Any]
    """Settings that are added to the encoder's."""


def export_stock(bundle: Bundle, name: str, output: Path, say: Say) -> None:
    """Write the folder of one head. Raises UsageError with the reason why the head has no stock class."""
    encoder = encoder_of(bundle, name)
    held = held_by(bundle, name)

    def fill(folder: Path) -> None:
        stock = filled(encoder, held, name)
        stock.save_pretrained(folder)
        save_tokenizer(bundle, folder, encoder)
        found, own_data = _difference(bundle, name, folder, held.auto)
        say(found.line(own_data))
        check(found, MOST_APART, f"{type(stock).__name__}, as transformers loads it,")
        card = stock_card(bundle, name, type(stock).__name__, found)
        (folder / "README.md").write_text(card, encoding="utf-8")

    write_folder(output, fill)


def encoder_of(bundle: Bundle, name: str) -> Encoder:
    """The encoder that a head reads. Raises UsageError when it reads a mix of layers."""
    if name in bundle.model.mixes:
        raise UsageError(f"task '{name}' reads a learned mix of layers (`layer_mix`), for which models of other tools have "
                         "no place; export it with --to onnx")  # fmt: skip
    branch = bundle.model.branch_of(name)
    return branch.encoder if branch else bundle.model.encoder


def held_by(bundle: Bundle, name: str) -> Held:
    """What the stock class of a head is filled with. Raises UsageError with the reason why there is none."""
    task: Any = bundle.tasks[name]
    head: Any = bundle.model.heads[name]
    if task.kind not in CLASSES:
        raise UsageError(f"task '{name}' is {task.kind}, for which transformers has no class; export it with "
                         "--to sentence-transformers")  # fmt: skip
    auto = CLASSES[task.kind]
    if task.kind == "question-answering":
        return Held(auto, {"qa_outputs": _linear(head.output)}, {"num_labels": 2})
    if task.kind == "token-classification":
        if task.decoder != "softmax":
            raise UsageError(f"task '{name}' has a CRF, and {auto} has no place for its transitions: emissions "
                             "alone give other entities. Train it with `decoder: softmax`, or use --to onnx")  # fmt: skip
        return Held(auto, {"classifier": _linear(head.output)}, _labels(task.tags))
    family = encoder_of(bundle, name).config.model_type
    if task.pooling != "cls":
        raise UsageError(f"task '{name}' reads the mean of all tokens, and {auto} of the family '{family}' the first one "
                         "alone. Train it with `pooling: cls`, or export it with --to onnx")  # fmt: skip
    if family not in TANH:
        raise UsageError(f"{auto} of the family '{family}' has another layer between the first token and the labels "
                         f"than task '{name}'; it fits {', '.join(sorted(TANH))}. Export it with --to onnx")  # fmt: skip
    config = _labels(task.labels)
    config["problem_type"] = "multi_label_classification" if task.multi_label else "single_label_classification"
    if family == "deberta-v2":
        config |= {"pooler_hidden_act": "tanh"}
    layers = _tanh_layers(head, TANH[family], encoder_of(bundle, name).width, name)
    weight_KD, bias_K = layers[TANH[family][1]]
    scaled = {TANH[family][1]: (weight_KD / task.temperature, bias_K / task.temperature)}
    return Held(auto, {**layers, **scaled}, config)


def _tanh_layers(head: Any, names: tuple[str, str], width: int, task: str) -> dict[str, Linear]:
    """The layers of a pooled head as a square layer before tanh and a linear one after it."""
    linears = [module for module in head.layers if isinstance(module, nn.Linear)]
    if len(linears) == 1:
        weight_KD, bias_K = _linear(linears[0])
        square = torch.eye(width) * NEARLY_LINEAR, torch.zeros(width)
        return {names[0]: square, names[1]: (weight_KD / NEARLY_LINEAR, bias_K)}
    (hidden_HD, bias_H), (weight_KH, bias_K) = _linear(linears[0]), _linear(linears[1])
    missing = width - len(hidden_HD)
    if missing < 0:
        raise UsageError(f"task '{task}' has a hidden layer of {len(hidden_HD)}, wider than the encoder ({width}), which no "
                         "stock class has; export it with --to onnx")  # fmt: skip
    square = torch.cat([hidden_HD, hidden_HD.new_zeros(missing, width)]), torch.cat([bias_H, bias_H.new_zeros(missing)])
    return {
        names[0]: square,
        names[1]: (torch.cat([weight_KH, weight_KH.new_zeros(len(weight_KH), missing)], 1), bias_K),
    }


def _linear(module: Any) -> Linear:
    return module.weight.detach().clone(), module.bias.detach().clone()


def _labels(names: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def filled(encoder: Encoder, held: Held, name: str) -> Any:
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


def _difference(bundle: Bundle, name: str, folder: Path, auto: str) -> tuple[Difference, bool]:
    """How far the folder, as transformers loads it, is from the model; relative to the largest logit, if above 1."""
    import transformers

    stock = getattr(transformers, auto).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    task: Any = bundle.tasks[name]
    temperature = (
        task.temperature if task.kind == "text-classification" else 1.0
    )  # of spans it is of scores, not of logits
    asked, own_data = one_window(bundle, task.kind == "question-answering")
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
        for theirs, key in OUTPUTS[task.kind].items():
            value = expected[key] / temperature
            found = getattr(seen, theirs)[0].numpy().reshape(value.shape)
            apart = float(np.abs(found - value).max() / max(1.0, float(np.abs(value).max())))
            if not apart <= largest:
                largest, where = apart, f"{name}/{key}"
    return Difference(largest, where, len(lengths), min(lengths), max(lengths)), own_data
