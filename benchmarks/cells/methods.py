"""The methods by name: what each is for, what it needs, and roughly what it costs. A method is a function.

It gets the rows of a cell and the rows to answer, and returns one answer for each of these. A method that needs validation
rows cuts them out of the cell's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from cells.scores import Answer
from cells.sets import DataSet, Kind, Row


@dataclass(frozen=True)
class Job:
    data: DataSet
    train: list[Row]
    test: list[Row]
    seed: int
    work: Path
    """A folder of its own, which is empty at first and removed at the end."""
    device: str = "cpu"


@dataclass(frozen=True)
class Found:
    answers: Sequence[Answer]
    facts: dict[str, Any] = field(default_factory=dict)
    """What was chosen, and how it fared."""


@dataclass(frozen=True)
class Method:
    kinds: tuple[Kind, ...]
    where: str
    """`module:function`, which is imported when it runs."""
    packages: tuple[str, ...]
    """Their versions are part of a result's key."""
    cost: float
    """Passes over the rows, roughly: what orders the queue."""
    most_rows: int = 1_000_000
    """Larger cells are left out unless their size is asked for by name."""
    version: int = 1
    """Counted up when the method changes: its results are then made again."""

    def function(self) -> Callable[[Job], Found]:
        module, _, name = self.where.partition(":")
        function: Callable[[Job], Found] = getattr(import_module(f"cells.{module}"), name)
        return function


LABELS: tuple[Kind, ...] = ("labels", "label sets")
TRAINED: tuple[Kind, ...] = (*LABELS, "entities", "answers")
TRANSFORMERS = ("torch", "transformers")
SENTENCE = (*TRANSFORMERS, "sentence-transformers")

METHODS: dict[str, Method] = {
    "logreg": Method(LABELS, "frozen:logistic_regression", (*SENTENCE, "scikit-learn"), 1),
    "untrained": Method(("pairs",), "frozen:similarities", SENTENCE, 0.1),
    "trainer-default": Method(TRAINED, "trainer:default", TRANSFORMERS, 3),
    "trainer-best": Method(TRAINED, "trainer:best", TRANSFORMERS, 44, most_rows=6000),
    "st-trainer": Method(("pairs",), "pairs:trained", SENTENCE, 20),
    "setfit": Method(LABELS, "few_shot:setfit", (*SENTENCE, "setfit", "scikit-learn"), 80, most_rows=1000),
    "ours": Method((*TRAINED, "pairs"), "ours:default", (), 10),
}
