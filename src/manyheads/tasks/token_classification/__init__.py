"""Entity recognition. `task.py` is the task; the other files are what it is to reports, files and tools."""

from manyheads.tasks.token_classification.task import TokenClassification

__all__ = ["TokenClassification"]
