"""A question answering head as the transformers class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manyheads.tasks.stock import FOLDER, StockClass, linear_of

if TYPE_CHECKING:
    from manyheads.tasks.question_answering.task import QuestionAnswering

USE = (
    "from transformers import AutoModelForQuestionAnswering, AutoTokenizer",
    "",
    f"tokenizer = AutoTokenizer.from_pretrained({FOLDER})",
    f"model = AutoModelForQuestionAnswering.from_pretrained({FOLDER})",
    'output = model(**tokenizer("A question?", "A passage.", return_tensors="pt"))  # start_logits, end_logits',
)
"""transformers 5 has no pipeline for it."""
DIFFERS = (
    "manyheads scores all spans of the passage up to a length over all windows, and never answers from the question; with "
    "the stock class, this is up to you.",
    "No answer is the first token as start and end. The threshold tuned for it in training and the calibration of scores "
    "are not in this folder.",
)


def stock_class(task: QuestionAnswering, head: Any, family: str, width: int) -> StockClass:
    """The class, for any family."""
    return StockClass(
        "AutoModelForQuestionAnswering",
        {"qa_outputs": linear_of(head.output)},
        {"start_logits": "start_T", "end_logits": "end_T"},
        {"num_labels": 2},
        pairs=True,
        use=USE,
        differs=DIFFERS,
    )
