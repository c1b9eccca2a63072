"""Entity recognition: `task.py` has the task; the files beside it its training, decoding, scores, reports and exports."""

from manyheads.tasks.token_classification.task import TokenClassification

__all__ = ["TokenClassification"]
