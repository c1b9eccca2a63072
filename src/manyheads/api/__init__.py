"""The Python API of a trained model: `load`, `Model`, and the types of its results.

    model.py         `Model` and `load`                  answering.py   its methods that answer texts
    results.py       types of answers, for type checkers
    predictions.py   answers that notebooks show         rendering.py   draws them
    evaluation.py    scores on a run file                summary.py     a model in a few lines
"""

from manyheads.api.model import Model, load

__all__ = ["Model", "load"]
