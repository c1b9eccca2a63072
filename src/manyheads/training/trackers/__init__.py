"""Experiment trackers that a run reports to, one file for each: `training.report_to`.

    base.py     the protocol `Tracker`, and what a tracker is told of a run
    several.py  the trackers of a run, none of which can change it or end it
    scalars.py  rows of the history as numbers with names

To add a tracker, write its file and give it an entry here. Its package is imported when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from manyheads.errors import UsageError

if TYPE_CHECKING:
    from manyheads.training.trackers.base import Tracker


@dataclass(frozen=True, slots=True)
class Entry:
    """A tracker by name."""

    title: str
    make: Callable[[], Tracker]
    needs: tuple[str, ...] = ()
    """Modules that the extra of the tracker's name installs."""


def _tensorboard() -> Tracker:
    from manyheads.training.trackers.tensorboard import TensorBoard

    return TensorBoard()


def _mlflow() -> Tracker:
    from manyheads.training.trackers.mlflow import MLflow

    return MLflow()


def _wandb() -> Tracker:
    from manyheads.training.trackers.wandb import WandB

    return WandB()


def _trackio() -> Tracker:
    from manyheads.training.trackers.trackio import Trackio

    return Trackio()


TRACKERS: Mapping[str, Entry] = {
    "tensorboard": Entry("TensorBoard", _tensorboard),
    "mlflow": Entry("MLflow", _mlflow, ("mlflow", "pandas")),
    "wandb": Entry("Weights & Biases", _wandb, ("wandb",)),
    "trackio": Entry("Trackio", _trackio, ("trackio",)),
}


def check_installed(names: Iterable[str]) -> None:
    """Raise UsageError, with what to install, for a tracker whose package is missing. Imports none of them."""
    for name in names:
        missing = [module for module in TRACKERS[name].needs if find_spec(module) is None]
        if missing:
            raise UsageError(f"training.report_to names {name}, and {missing[0]} is not installed; "
                             f'pip install "path/to/manyheads[{name}]", or remove {name} there')  # fmt: skip


def titles(names: Iterable[str]) -> str:
    """Trackers as a list for people.

    >>> titles(["tensorboard", "mlflow"]), titles([])
    ('TensorBoard, MLflow', 'nothing')
    """
    return ", ".join(TRACKERS[name].title for name in names) or "nothing"
