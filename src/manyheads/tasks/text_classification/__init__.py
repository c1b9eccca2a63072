"""Text classification: `task.py` has the task; the files beside it its training, decoding, scores, reports and exports."""

from manyheads.tasks.text_classification.example import LabelledText
from manyheads.tasks.text_classification.task import TextClassification

__all__ = ["LabelledText", "TextClassification"]
