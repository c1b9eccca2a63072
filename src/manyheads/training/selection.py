"""Which model is the best: a weighted mean of metrics, and how long to wait for a better one."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from manyheads.errors import UsageError
from manyheads.evaluate import combined
from manyheads.text.values import did_you_mean

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics
    from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Selection:
    """The combined score: without weights the mean of the tasks' main metrics."""

    weights: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By task and metric."""

    @staticmethod
    def of(select: Mapping[str, float], tasks: Mapping[str, Task[Any]], validated: Collection[str]) -> Selection:
        """From `{"TASK.METRIC": weight}`. Raises UsageError for an unknown task or metric, or one without validation data."""
        weights = {}
        for key, weight in select.items():
            name, _, metric = key.partition(".")
            if name not in tasks:
                raise UsageError(f"training.select: {key}: there is no task '{name}'; the tasks are {', '.join(tasks)}")
            known = tasks[name].metric_names
            if metric == "ece":
                raise UsageError(f"training.select: {key}: ece is the calibration error, which can be 0 for a head at "
                                 f"chance; choose by {', '.join(known)}")  # fmt: skip
            if metric not in known:
                raise UsageError(f"training.select: {key}: {tasks[name].kind} has no metric '{metric}'"
                                 f"{did_you_mean(metric, known)} (known: {', '.join(known)})")  # fmt: skip
            if name not in validated:
                raise UsageError(
                    f"training.select: {key}: '{name}' has no validation data; give it some, or leave it out"
                )
            weights[name, metric] = weight
        return Selection(weights)

    def check(self, metrics: Mapping[str, Metrics]) -> None:
        """Raise UsageError for a chosen metric that is not measured on this data."""
        for name, metric in self.weights:
            if name in metrics and metric not in metrics[name]:
                raise UsageError(f"training.select: {name}.{metric} is not measured on this data; it gives "
                                 f"{', '.join(metrics[name])}")  # fmt: skip

    def score(self, tasks: Mapping[str, Task[Any]], metrics: Mapping[str, Metrics]) -> float:
        """The combined score over the chosen metrics that are measured; 0 if none is.

        Test data may allow fewer metrics than validation data (no unanswerable questions); that does not fail a run.
        """
        if not self.weights:
            return combined(tasks, metrics)
        measured = {(name, metric): weight for (name, metric), weight in self.weights.items()
                    if metric in metrics.get(name, {})}  # fmt: skip
        total = sum(weight * metrics[name][metric] for (name, metric), weight in measured.items())
        return total / sum(measured.values()) if measured else 0.0

    def left_out(self, tasks: Mapping[str, Task[Any]], metrics: Mapping[str, Metrics]) -> str | None:
        """What the combined score leaves out, if some of its metrics are missing; None if all are there."""
        if self.weights:
            wanted = [f"{name}.{metric}" for name, metric in self.weights]
            found = [key for key in wanted if key.partition(".")[2] in metrics.get(key.partition(".")[0], {})]
        else:
            wanted, found = list(tasks), [name for name in tasks if name in metrics]
        missing = [key for key in wanted if key not in found]
        if not missing:
            return None
        scored = f"{', '.join(found)} alone" if found else "nothing"
        return f"of {scored}; {', '.join(missing)} {'have' if len(missing) > 1 else 'has'} no score"


def uncertainty(main_scores: Mapping[str, float], rows: Mapping[str, int]) -> float:
    """Half a standard error of the mean of main scores, taken as fractions of `rows` examples each.

    Two models that differ by less cannot be distinguished on these examples.

    >>> round(uncertainty({"ner": 0.9}, {"ner": 1000}), 3), round(uncertainty({"ner": 0.9}, {"ner": 20}), 3)
    (0.005, 0.034)
    """
    variance = sum(max(0.0, s * (1 - s)) / rows[name] for name, s in main_scores.items())
    return 0.5 * math.sqrt(variance) / max(1, len(main_scores))


@dataclass(slots=True)
class Patience:
    """Counts evaluations since the best one. Part of a run's state.

    >>> patience = Patience(limit=2)
    >>> [patience.better(score) for score in (0.5, 0.6, 0.6, 0.4)], patience.over
    ([True, True, False, False], True)
    """

    limit: int | None
    """Evaluations without a better one to wait for; None: for ever."""
    best: float = float("-inf")
    since: int = 0

    def better(self, score: float) -> bool:
        """Note a score; whether it is the best so far."""
        if score > self.best:
            self.best, self.since = score, 0
            return True
        self.since += 1
        return False

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"patience": self.limit, "best": self.best if self.best > float("-inf") else None, "since": self.since}

    @staticmethod
    def from_json(state: Mapping[str, Any]) -> Patience:
        """From `to_json`."""
        best = float("-inf") if state["best"] is None else float(state["best"])
        return Patience(state["patience"], best, int(state["since"]))

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return self.limit is not None and self.since >= self.limit
