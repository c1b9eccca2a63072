"""manyheads: one text encoder, many heads.

>>> import manyheads as mh
>>> mh.__version__
'0.1.0'
>>> model = mh.load("runs/demo")
>>> rows = model.predict(["Aspirin 10 mg was given."], tasks=["entities", "section"])
>>> list(rows[0]["tasks"])
['entities', 'section']

Importing the package imports nothing heavy: names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.api import Model, load
    from manyheads.api.predictions import Predictions
    from manyheads.api.results import Answer, Classification, Numbers, Problem, RankedText, Row, Span, Tag
    from manyheads.config.schema import Run
    from manyheads.inference.hard_negatives import Mining
    from manyheads.python_train import train
    from manyheads.training.step_record import EvaluationRecord, StepRecord

__version__ = "0.1.0"
__all__ = [
    "Answer", "Classification", "EvaluationRecord", "Mining", "Model", "Numbers", "Predictions", "Problem", "RankedText",
    "Row", "Run", "Span", "StepRecord", "Tag", "__version__", "load", "train",
]  # fmt: skip

_RESULTS = ("Answer", "Classification", "Numbers", "Problem", "RankedText", "Row", "Span", "Tag")
_HOME = {
    "Model": "manyheads.api", "load": "manyheads.api", "Predictions": "manyheads.api.predictions",
    **dict.fromkeys(_RESULTS, "manyheads.api.results"),
    "Mining": "manyheads.inference.hard_negatives", "Run": "manyheads.config.schema", "train": "manyheads.python_train",
    **dict.fromkeys(("StepRecord", "EvaluationRecord"), "manyheads.training.step_record"),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'manyheads' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
