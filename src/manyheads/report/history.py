"""Reads `history.jsonl` of a finished run: losses, weights, tokens and scores by step, and skipped steps.

Decided here: if a step was run twice, after a return to a checkpoint, its last record counts. Damaged lines are ignored.
Older files, whose records have no weights or headlines, are read too.
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
"""Values by step."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A step whose update was not applied."""

    step: int
    reason: str
    tasks: tuple[str, ...]


@dataclass(slots=True)
class History:
    """Each figure by task and step."""

    losses: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    weights: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    tokens: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    pulls: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    """Steps for which the norms of the tasks' gradients are known."""
    metrics: dict[int, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    """Each evaluation on validation data, by task."""
    headlines: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))
    teachers: dict[str, float] = field(default_factory=dict)
    """Headline metric of each task's teacher on validation data."""
    first_tasks: dict[str, float] = field(default_factory=dict)
    """Headline metric on validation data of each task that trained the encoder alone before the first step."""
    combined: Points = field(default_factory=dict)
    kept: int | None = None
    """Step of the evaluation that was chosen; None if older runs do not say."""
    phases: dict[str, int] = field(default_factory=dict)
    """First step of each phase."""
    skipped: dict[int, Skipped] = field(default_factory=dict)
    turned_back: list[tuple[int, int]] = field(default_factory=list)
    """(From step, to step)."""

    @property
    def steps(self) -> int:
        """Number of steps."""
        return max((max(points) + 1 for points in self.losses.values() if points), default=0)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one record. Raises KeyError, TypeError, ValueError or AttributeError if it is not one."""
        step = int(row["step"])
        if "turned_back_to" in row:
            self.turned_back.append((step, int(row["turned_back_to"])))
            return
        if "teacher" in row:
            self.teachers[str(row["teacher"])] = float(row["score"])
            return
        if "first_tasks" in row:
            self.first_tasks = {str(name): float(alone.get("score", math.nan)) for name, alone in row["first_tasks"].items()}
            return
        if "validation" in row:
            self.metrics[step] = row["validation"]
            self.combined[step] = float(row["combined"])
            self.kept = step if row.get("kept") else self.kept
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
    """Read the records of a file; an empty history if the file does not exist."""
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
