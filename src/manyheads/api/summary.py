"""A model in a few lines: tasks with their types, labels and main scores, encoder, size and device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.html.highlight import framed, small_table
from manyheads.html.markup import element, user_text
from manyheads.html.numbers import is_number, plural, points

if TYPE_CHECKING:
    from manyheads.inference import LoadedModel
    from manyheads.tasks.base import Task

SPLITS = ("test", "validation")
"""Whose score is shown: of the first that has one."""


@dataclass(frozen=True, slots=True)
class TaskLine:
    """What is said of a task."""

    name: str
    kind: str
    labels: int
    """0 for types without labels."""
    metric: str
    """Name of the main metric; empty without scores."""
    score: float | None
    split: str


def task_lines(tasks: Mapping[str, Task[Any]], metrics: Mapping[str, Any]) -> Iterator[TaskLine]:
    """A line for each task."""
    for name, task in tasks.items():
        by_split = {split: metrics.get(name, {}).get(split) for split in SPLITS}
        split = next((split for split in SPLITS if by_split[split]), "")
        found: Mapping[str, float] = by_split.get(split) or {}
        metric = task.main_metric if task.main_metric in found else next(iter(found), "")
        yield TaskLine(name, task.kind, len(task.label_names), metric, found.get(metric), split)


def facts(loaded: LoadedModel) -> str:
    """Encoder, windows, size and device in one line."""
    encoder = loaded.bundle.manifest["encoder"]
    size = sum(entry["bytes"] for entry in loaded.bundle.manifest["files"].values()) / 1e6
    return f"{encoder['name']}, windows of {encoder['max_length']} tokens, {size:.1f} MB, on {loaded.device}"


def summary_text(loaded: LoadedModel, metrics: Mapping[str, Any]) -> str:
    """Plain text, a line for each task."""
    lines = list(task_lines(loaded.tasks, metrics))
    rows = [
        (line.name, line.kind, plural(line.labels, "label") if line.labels else "", _score(line)) for line in lines
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    shown = ["  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"Model('{loaded.bundle.folder}'): {facts(loaded)}", *shown])


def summary_html(loaded: LoadedModel, metrics: Mapping[str, Any]) -> str:
    """A small table, for notebooks."""
    rows = [
        [user_text(line.name), line.kind, str(line.labels or "–"), line.metric or "–", points(line.score), line.split or "–"]
        for line in task_lines(loaded.tasks, metrics)
    ]
    columns = ["task", "type", "labels", "main metric", "score", "split"]
    heading = element("b", None, user_text(str(loaded.bundle.folder)))
    return str(framed(heading, element("div", None, user_text(facts(loaded))), small_table(columns, rows)))


def _score(line: TaskLine) -> str:
    return f"{line.metric} {line.score:.3f} ({line.split})" if is_number(line.score) else ""
