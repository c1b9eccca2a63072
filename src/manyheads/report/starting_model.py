"""What each task lost or won against the model that the runs of a comparison start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manyheads.html.figures.marks import verdict
from manyheads.html.markup import Html, code, user_text
from manyheads.html.numbers import Number, difference, points, probability
from manyheads.html.page import Part, paragraph
from manyheads.html.tables import listing, numbers, table, words
from manyheads.report.metric_names import metric_name
from manyheads.report.results import Json, Result, mean, section, text

OUTCOMES = {
    "helps": "won", "hurts": "lost", "equivalent": "unchanged", "no worse": "not worse", "inconclusive": "undecided",
}  # fmt: skip
"""Verdicts in words for a task that trained on."""


def starting_model(compare: Json, tasks: Sequence[Result], level: str, margin: Number) -> list[Part]:
    """Scores before and after, with intervals; empty for runs that start from no model."""
    start = section(compare, "start")
    shown = {task.name: task for task in tasks}
    found = [(shown[name], Result.of(name, one)) for name, one in section(start, "tasks").items()
             if name in shown and isinstance(one, Mapping)]  # fmt: skip
    left = [(user_text(name), f"not compared, as {text(why)}") for name, why in section(start, "not_compared").items()]
    if not found and not left:
        return []
    parts: list[Part] = [
        paragraph("The runs start from ", code(text(start.get("model"))), ", which answered the same test data. ",
                  _summary([one for _, one in found], margin))
    ]  # fmt: skip
    if found:
        scores = numbers("before", "now", "change", f"{level} from", "to", "p (Holm)")
        columns = [*words("task", "metric", "scored on"), *scores, *words("outcome")]
        caption = "Scores of the starting model, and of the runs as means over seeds, in points of 100."
        parts.append(table(caption, columns, [_row(task, one) for task, one in found]))
    return [*parts, *([listing(left)] if left else [])]


def _row(task: Result, one: Result) -> list[Html | str]:
    change = one.difference
    return [
        user_text(task.name), metric_name(task.metric), f"{task.split}, {task.size}", points(mean(one.single)),
        points(mean(one.shared)), difference(change.mean), difference(change.low), difference(change.high),
        probability(change.p_holm), verdict(one.verdict, OUTCOMES.get(one.verdict, "")),
    ]  # fmt: skip


def _summary(found: Sequence[Result], margin: Number) -> str:
    """Which tasks lost, won or stayed, in a sentence or two."""
    within = f"by less than {points(margin)} points, if at all"
    clauses = {
        "hurts": "Lost: {}.", "helps": "Won: {}.", "equivalent": f"Changed {within}: {{}}.",
        "no worse": f"Worse {within}: {{}}.", "inconclusive": "Undecided: {}.",
    }  # fmt: skip
    names = {word: [one.name for one in found if one.verdict == word] for word in clauses}
    return " ".join(clause.format(", ".join(names[word])) for word, clause in clauses.items() if names[word])
