"""Entity recognition: `task.py` has the task; the files beside it its training, decoding, scores, reports and exports.

`by_name_task.py` has the task whose labels can be given in words (`by_name: true`), with `by_name_training.py` and
`by_name_decoding.py`.
"""

from manyheads.tasks.token_classification.by_name_task import EntitiesByName
from manyheads.tasks.token_classification.task import TokenClassification

__all__ = ["EntitiesByName", "TokenClassification"]
