"""A head of spans as the class of transformers for questions."""

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
"""There is no pipeline since transformers 5."""
DIFFERS = (
    "manyheads lets all spans of the passage up to a length compete, over all windows, and never points into the "
    "question; with the stock class that is left to you.",
    "No answer is the first token at both ends; neither the threshold that was tuned on it in training nor the "
    "calibration of scores is in this folder.",
)


def stock_class(task: QuestionAnswering, head: Any, family: str, width: int) -> StockClass:
    """The class of any family."""
    return StockClass(
        "AutoModelForQuestionAnswering",
        {"qa_outputs": linear_of(head.output)},
        {"start_logits": "start_T", "end_logits": "end_T"},
        {"num_labels": 2},
        pairs=True,
        use=USE,
        differs=DIFFERS,
    )
