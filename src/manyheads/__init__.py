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
    from manyheads.start import train

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load", "train"]

_HOME = {"Model": "manyheads.api", "load": "manyheads.api", "train": "manyheads.start"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'manyheads' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
