"""What `history.jsonl` of a finished run says: losses, weights, tokens, scores by step, and what was left out.

Decided here: of a step that was made twice, since the run had gone back to a checkpoint, the last record counts. A damaged
line is left out. Runs of before records had weights or headlines are read too.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Points = dict[int, float]
"""By step."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A step from which nothing was learned."""

    step: int
    reason: str
    tasks: tuple[str, ...]


@dataclass(slots=True)
class History:
    """By task, each figure by step."""

    losses: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    weights: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    tokens: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    pulls: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    """Of steps in which the norms of the tasks' gradients were known."""
    metrics: dict[int, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    """Of each evaluation on validation data, by task."""
    headlines: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    teachers: dict[str, float] = field(default_factory=dict)
    """The headline of each task's teacher on validation data."""
    combined: Points = field(default_factory=dict)
    phases: dict[str, int] = field(default_factory=dict)
    """The first step of each."""
    skipped: dict[int, Skipped] = field(default_factory=dict)
    turned_back: list[tuple[int, int]] = field(default_factory=list)
    """(From step, to step)."""

    @property
    def steps(self) -> int:
        """Steps that were made."""
        return max((max(points) + 1 for points in self.losses.values() if points), default=0)

    def add(self, row: Mapping[str, Any]) -> None:
        """One record. Raises KeyError, TypeError, ValueError or AttributeError for what is none."""
        step = int(row["step"])
        if "turned_back_to" in row:
            self.turned_back.append((step, int(row["turned_back_to"])))
            return
        if "teacher" in row:
            self.teachers[str(row["teacher"])] = float(row["score"])
            return
        if "validation" in row:
            self.metrics[step] = row["validation"]
            self.combined[step] = float(row["combined"])
            for name, value in row.get("headline", {}).items():
                self.headlines[name][step] = float(value)
            return
        self.skipped.pop(step, None)
        if "skipped" in row:
            self.skipped[step] = Skipped(step, str(row["skipped"]), tuple(row.get("tasks", ())))
        if row.get("phase"):
            self.phases.setdefault(str(row["phase"]), step)
        kept = {"loss": self.losses, "weight": self.weights, "tokens": self.tokens, "pull": self.pulls}
        for key, found in kept.items():
            for name, value in row.get(key, {}).items():
                if math.isfinite(value):
                    found[name][step] = float(value)


def read_history(path: Path) -> History:
    """The records of a file; none where there is no file."""
    history = History()
    if not path.exists():
        return history
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                history.add(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
    return history
