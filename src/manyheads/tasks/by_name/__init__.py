"""Labels in words, for any task whose labels the same encoder reads (`by_name: true`).

`settings.py` has the settings and what follows from them, `store.py` the vectors of labels, `draws.py` what training reads.
"""

from manyheads.tasks.by_name.settings import NamedLabels, described
from manyheads.tasks.by_name.store import LabelStore, unit_vectors

__all__ = ["LabelStore", "NamedLabels", "described", "unit_vectors"]
