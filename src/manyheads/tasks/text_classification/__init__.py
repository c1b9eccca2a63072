"""Text classification: `task.py` has the task; the files beside it its training, decoding, scores, reports and exports.

`sentence_task.py` has the task that classifies the sentences of a text (`unit: sentence`), with `sentences/`.
`by_name_task.py` has the task that compares texts with descriptions of labels (`by_name: true`), with `by_name_training.py`.
"""

from manyheads.tasks.text_classification.by_name_task import ClassificationByName
from manyheads.tasks.text_classification.example import LabelledText
from manyheads.tasks.text_classification.sentence_task import SentenceClassification
from manyheads.tasks.text_classification.task import TextClassification

__all__ = ["ClassificationByName", "LabelledText", "SentenceClassification", "TextClassification"]
