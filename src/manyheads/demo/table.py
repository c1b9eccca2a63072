"""The table of the demonstration: each head's score by chance, on the frozen encoder, trained alone, and trained together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.evaluate import Scores
    from manyheads.tasks.base import Task

WIDTH = 10


@dataclass(frozen=True, slots=True)
class Columns:
    """Scores by head. Those of `alone` and `together` are by task and split."""

    chance: Mapping[str, float]
    frozen: Mapping[str, float]
    alone: Mapping[str, Scores]
    """Empty if no head was trained alone."""
    together: Scores


def table(tasks: Mapping[str, Task[Any]], columns: Columns) -> Iterator[str]:
    """The table and what its columns are, as lines."""
    trained = ["alone", "together"] if columns.alone else ["together"]
    validation, test = ["chance", "frozen", *trained], trained
    yield f"{'':23}{'validation data':>{WIDTH * len(validation)}}{'test data':>{WIDTH * len(test) + 2}}"
    yield f"{'head':12}{'metric':11}{_cells(validation)}  {_cells(test)}"
    for name, task in tasks.items():
        metric = "spearman" if name == "similarity" else task.main_metric
        models = [columns.alone[name], columns.together] if columns.alone else [columns.together]
        on = {split: [task.main_score(scores[name][split]) for scores in models] for split in ("validation", "test")}
        first = [columns.chance[name], columns.frozen[name], *on["validation"]]
        yield f"{name:12}{metric:11}{_cells(_shown(first))}  {_cells(_shown(on['test']))}"
    yield "chance: the most common answer; for entities, the names of the training data; for similarity, a random order"
    yield "frozen: the untrained encoder, with heads fitted to it"
    if columns.alone:
        yield "alone: one model for each head, trained on its data only, which it sees as often as the shared model"
        yield "together: one model for all heads; small test sets: report.html has the intervals"
    else:
        yield "together: one model for all heads; --alone also trains a model for each head, which takes about as long again"


def _shown(scores: list[float]) -> list[str]:
    return [f"{score:.3f}" for score in scores]


def _cells(texts: list[str]) -> str:
    return "".join(f"{text:>{WIDTH}}" for text in texts)
