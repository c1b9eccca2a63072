"""A classification head as the transformers class for sequence classification.

Decided here:
- A `cls` head with a hidden layer equals the classification head of BERT, RoBERTa and similar models; a narrower hidden layer
  is padded with zeros. A linear head has to pass through their tanh layer: inputs are scaled down by `NEARLY_LINEAR`, where
  tanh(x) is x to 1e-6 even for x = 15. Such a model should not be run in float16.
- The classes of DistilBERT (ReLU), ELECTRA (GELU) and ModernBERT (GELU and a norm) cannot hold our heads.
- The temperature of scores is folded into the last layer.
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
"""Families whose class applies a square layer, tanh and a linear layer to the first token; names of the two layers."""
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
    """The class, for families in `TANH`. Raises UsageError for others, and for heads that the class cannot hold."""
    if task.pooling != "cls":
        raise UsageError(f"task '{task.name}' pools the mean of all tokens, but {AUTO} of the family '{family}' "
                         "reads only the first one. Train it with `pooling: cls`, or export it to ONNX")  # fmt: skip
    if family not in TANH:
        raise UsageError(f"{AUTO} of the family '{family}' has another layer between the first token and the labels "
                         f"than task '{task.name}'; it fits {', '.join(sorted(TANH))}. Export it to ONNX")  # fmt: skip
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
                         "stock class has; export it to ONNX")  # fmt: skip
    square = torch.cat([hidden_HD, hidden_HD.new_zeros(missing, width)]), torch.cat([bias_H, bias_H.new_zeros(missing)])
    return square, (torch.cat([weight_KH, weight_KH.new_zeros(len(weight_KH), missing)], 1), bias_K)
