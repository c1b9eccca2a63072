"""A head of tags as the class of transformers for tokens.

A CRF is refused: without its transitions the emissions alone would be decoded to something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manyheads.errors import UsageError
from manyheads.tasks.stock import FOLDER, StockClass, labels_config, linear_of

if TYPE_CHECKING:
    from manyheads.tasks.token_classification.task import TokenClassification

AUTO = "AutoModelForTokenClassification"
USE = (
    "from transformers import pipeline",
    "",
    f'find = pipeline("token-classification", model={FOLDER}, aggregation_strategy="first")',
    'entities = find("A text.")',
)
DIFFERS = (
    "manyheads reads words, runs of letters and digits or single symbols, by their first token. The pipeline reads every "
    'token; `aggregation_strategy="first"` comes closest, with words as the tokenizer sees them.',
    "manyheads finds the best tags that obey IOB2 (an `I-` never opens an entity); the pipeline takes the best tag of "
    "each token.",
    "The score of an entity is the mean over its words in manyheads, calibrated on validation data; the pipeline's "
    "follows its aggregation, and is not.",
)


def stock_class(task: TokenClassification, head: Any, family: str, width: int) -> StockClass:
    """The class of any family. Raises UsageError for a CRF."""
    if task.decoder != "softmax":
        raise UsageError(f"task '{task.name}' has a CRF, and {AUTO} has no place for its transitions: emissions "
                         "alone give other entities. Train it with `decoder: softmax`, or export it to ONNX")  # fmt: skip
    if len(task.layers) > 1:
        raise UsageError(f"task '{task.name}' gives a word several tags (`overlap: {task.overlap}`), and {AUTO} gives a "
                         "token one tag: overlapping entities would be lost. Export it to ONNX")  # fmt: skip
    return StockClass(
        AUTO,
        {"classifier": linear_of(head.output)},
        {"logits": "logits_TK"},
        labels_config(task.output_names),
        use=USE,
        differs=DIFFERS,
    )
