"""Labels for texts or pairs of texts. `task.py` is the task; the other files are what it is to reports, files and tools."""

from manyheads.tasks.text_classification.task import LabelledText, TextClassification

__all__ = ["LabelledText", "TextClassification"]
