"""Rows of the history as numbers with names, for trackers.

    loss/TASK weight/TASK pull/TASK rate gradient_norm tokens     each step
    validation/TASK/METRIC validation/combined                     each evaluation
    final/SPLIT/TASK/METRIC final/SPLIT/combined                   the finished model, as in metrics.json
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.training.trackers.base import Mark

OF_TASKS = ("loss", "weight", "pull")


def scalars_of(row: Mapping[str, Any]) -> tuple[Mark, dict[str, float]] | None:
    """What a row of the history says in numbers; None for rows that are neither a step nor an evaluation.

    >>> scalars_of({"step": 3, "validation": {"section": {"accuracy": 0.5}}, "combined": 0.5})
    ((3, 0), {'validation/section/accuracy': 0.5, 'validation/combined': 0.5})
    """
    if "validation" in row:
        found = _by_metric("validation", row["validation"])
        return (row["step"], 0), {**found, "validation/combined": row["combined"]}
    if "loss" not in row:
        return None
    values = {f"{key}/{task}": value for key in OF_TASKS for task, value in row.get(key, {}).items()}
    whole = {"rate": row["rate"], "gradient_norm": row["gradient_norm"], "tokens": sum(row["tokens"].values())}
    return (row["step"], 1), {**values, **whole}


def final_scalars(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """The scores of `metrics.json`, without their warnings.

    >>> final_scalars({"a": {"test": {"f1": 0.5}}, "_all": {"test": {"combined": 0.5, "warnings": {}}}})
    {'final/test/a/f1': 0.5, 'final/test/combined': 0.5}
    """
    found: dict[str, float] = {}
    for task, splits in scores.items():
        for split, metrics in splits.items():
            found |= _by_metric(f"final/{split}", {task: metrics})
    return {name.replace("/_all/", "/"): value for name, value in found.items()}


def _by_metric(prefix: str, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {f"{prefix}/{task}/{metric}": value for task, values in metrics.items() for metric, value in values.items()
            if isinstance(value, int | float)}  # fmt: skip
