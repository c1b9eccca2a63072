"""The trained heads beside their baselines: a head that ignores the text, heads on the untrained encoder, the teacher."""

from __future__ import annotations

from collections.abc import Mapping

from manyheads.html.markup import user_text
from manyheads.html.numbers import points
from manyheads.html.page import Part, aside
from manyheads.html.tables import numbers, table, words
from manyheads.report.metric_names import metric_name
from manyheads.report.summary import FROZEN, MOST_COMMON, TEACHER, TaskSummary

NOTES = {
    MOST_COMMON: "“Always the most common answer”: the same answer for every text; for pairs, a random order.",
    FROZEN: "“Frozen encoder”: the untrained encoder, with heads fitted to it before the first step.",
    TEACHER: "“Its teacher”: the model that the task learned from.",
}


def baseline_parts(tasks: Mapping[str, TaskSummary]) -> list[Part]:
    """A table of headline scores on validation data with a note on how to read it; empty without baselines."""
    known = {system for task in tasks.values() for system in task.baselines}
    systems = [system for system in (TEACHER, FROZEN, MOST_COMMON) if system in known]
    if not systems:
        return []
    trained = [points(task.scores.get("validation", {}).get(task.headline)) for task in tasks.values()]
    rows = [["this model", *trained]]
    rows += [[system, *(points(task.baselines.get(system)) for task in tasks.values())] for system in systems]
    names = (user_text(f"{name}, {metric_name(task.headline)}") for name, task in tasks.items())
    notes = [note for system, note in NOTES.items() if system in systems]
    caption = "Compared with baselines on validation data, in points of 100."
    return [table(caption, [*words("system"), *numbers(*names)], rows), aside(" ".join(notes))]
