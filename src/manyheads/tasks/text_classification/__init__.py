"""Text classification: `task.py` has the task; the files beside it its training, decoding, scores, reports and exports.

`sentence_task.py` has the task that classifies the sentences of a text (`unit: sentence`), with `sentences/`.
"""

from manyheads.tasks.text_classification.example import LabelledText
from manyheads.tasks.text_classification.sentence_task import SentenceClassification
from manyheads.tasks.text_classification.task import TextClassification

__all__ = ["LabelledText", "SentenceClassification", "TextClassification"]
