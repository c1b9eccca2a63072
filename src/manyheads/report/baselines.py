"""The trained heads beside what needs less: a head that reads nothing, and one on the encoder as it was before training."""

from __future__ import annotations

from collections.abc import Mapping

from manyheads.html.markup import said
from manyheads.html.numbers import points
from manyheads.html.page import Part, aside
from manyheads.html.tables import numbers, table, words
from manyheads.report.facts import COMMONEST, FROZEN, TEACHER, TaskFacts
from manyheads.report.names import metric_name


def baseline_parts(tasks: Mapping[str, TaskFacts]) -> list[Part]:
    """A table of headline scores on validation data, and how to read it; nothing where there are no baselines."""
    systems = [system for system in (TEACHER, FROZEN, COMMONEST) if any(system in task.baselines for task in tasks.values())]
    if not systems:
        return []
    trained = [points(task.scores.get("validation", {}).get(task.headline)) for task in tasks.values()]
    rows = [["this model", *trained]]
    rows += [[system, *(points(task.baselines.get(system)) for task in tasks.values())] for system in systems]
    names = (said(f"{name}, {metric_name(task.headline)}") for name, task in tasks.items())
    how = f"“{COMMONEST.capitalize()}”: whatever the text; for pairs an order by chance."
    if FROZEN in systems:
        how += " “Frozen encoder”: the untrained one, with heads solved on it before the first step."
    if TEACHER in systems:
        how += " “Its teacher”: the model that the task learned from, as it is."
    caption = "Beside what needs less, on validation data, points of 100."
    return [table(caption, [*words("system"), *numbers(*names)], rows), aside(how)]
