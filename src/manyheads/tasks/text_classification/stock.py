"""A head of labels as the class of transformers for texts.

Decided here:
- A `cls` head with a hidden layer is the classification head of BERT, RoBERTa and their kin; one narrower than the encoder
  is widened by zeros. Without a hidden layer those classes still have one, with tanh: it is made linear by working at
  `NEARLY_LINEAR` of the scale, where tanh(x) is x to 1e-6 even for x = 15. Such a model should not be run in float16.
- DistilBERT's (ReLU), ELECTRA's (GELU) and ModernBERT's (GELU and a norm) classes have no place for our heads.
- The temperature of scores is laid into the last layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.errors import UsageError
from manyheads.tasks.stock import FOLDER, Linear, StockClass, labels_config, linear_of

if TYPE_CHECKING:
    from manyheads.tasks.text_classification.task import TextClassification

AUTO = "AutoModelForSequenceClassification"
NEARLY_LINEAR = 2.0**-14
TANH: Mapping[str, tuple[str, str]] = {
    "bert": ("bert.pooler.dense", "classifier"),
    "deberta-v2": ("pooler.dense", "classifier"),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), ("classifier.dense", "classifier.out_proj")),
}
"""Families whose class reads the first token by a square layer, tanh and a linear layer; their names there."""
USE = (
    "from transformers import pipeline",
    "",
    f'label = pipeline("text-classification", model={FOLDER})("A text.")',
)
DIFFERS = (
    "Of several labels, manyheads gives those that reach its thresholds; the pipeline gives the best one, or all with "
    "`top_k=None`.",
)


def stock_class(task: TextClassification, head: Any, family: str, width: int) -> StockClass:
    """The class of the families in `TANH`. Raises UsageError for others, and for heads that it has no place for."""
    if task.pooling != "cls":
        raise UsageError(f"task '{task.name}' reads the mean of all tokens, and {AUTO} of the family '{family}' the first "
                         "one alone. Train it with `pooling: cls`, or export it with --to onnx")  # fmt: skip
    if family not in TANH:
        raise UsageError(f"{AUTO} of the family '{family}' has another layer between the first token and the labels "
                         f"than task '{task.name}'; it fits {', '.join(sorted(TANH))}. Export it with --to onnx")  # fmt: skip
    config = labels_config(task.labels)
    config["problem_type"] = "multi_label_classification" if task.multi_label else "single_label_classification"
    if family == "deberta-v2":
        config |= {"pooler_hidden_act": "tanh"}
    square, (weight_KD, bias_K) = _tanh_layers(head, width, task.name)
    dense, last = TANH[family]
    return StockClass(
        AUTO,
        {dense: square, last: (weight_KD / task.temperature, bias_K / task.temperature)},
        {"logits": "logits_SK"},
        config,
        task.temperature,
        use=USE,
        differs=DIFFERS,
    )


def _tanh_layers(head: Any, width: int, task: str) -> tuple[Linear, Linear]:
    """The layers of a pooled head as a square layer before tanh and a linear one after it."""
    linears = [module for module in head.layers if isinstance(module, nn.Linear)]
    if len(linears) == 1:
        weight_KD, bias_K = linear_of(linears[0])
        return (torch.eye(width) * NEARLY_LINEAR, torch.zeros(width)), (weight_KD / NEARLY_LINEAR, bias_K)
    (hidden_HD, bias_H), (weight_KH, bias_K) = linear_of(linears[0]), linear_of(linears[1])
    missing = width - len(hidden_HD)
    if missing < 0:
        raise UsageError(f"task '{task}' has a hidden layer of {len(hidden_HD)}, wider than the encoder ({width}), which no "
                         "stock class has; export it with --to onnx")  # fmt: skip
    square = torch.cat([hidden_HD, hidden_HD.new_zeros(missing, width)]), torch.cat([bias_H, bias_H.new_zeros(missing)])
    return square, (torch.cat([weight_KH, weight_KH.new_zeros(len(weight_KH), missing)], 1), bias_K)
