"""Single models at their own best, the twins beside them, and the ladder of tasks that fall behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manyheads.html.figures.marks import verdict
from manyheads.html.markup import Html, code, joined, said
from manyheads.html.numbers import decimal, difference, interval, known, points
from manyheads.html.page import Part, paragraph
from manyheads.html.tables import numbers, table, words
from manyheads.report.results import Json, Result, listed, mean, number, section


def single_models(compare: Json, tasks: Sequence[Result]) -> list[Part]:
    """Tables of the rates that were tried, and of the twins where there are some; nothing where there is neither."""
    found = {name: one for name, one in section(compare, "tasks").items() if isinstance(one, Mapping)}
    tried = [_rates(name, section(one, "own")) for name, one in found.items() if section(one, "own")]
    parts: list[Part] = []
    if tried:
        columns = [*words("task"), *numbers("rate taken", "times the usual"), *words("validation score by rate")]
        parts.append(table("The rate of each single model, chosen by its first seed.", columns, tried))
    twins = [(task, section(found[task.name], "twin")) for task in tasks if section(found[task.name], "twin")]
    if twins:
        columns = [*words("task"), *numbers("best", "twin", "shared", "shared minus twin"), *words("against the twin")]
        rows = [_beside(task, Result.of(task.name, one)) for task, one in twins]
        caption = (
            "Beside them the twins: the shared run with the other tasks' examples left out of every step. Points of 100."
        )
        parts.append(table(caption, columns, rows))
    return parts


def rungs(remedy: Json) -> list[Part]:
    """What each task that climbed the ladder got of its own, what it scored, and what answering it costs."""
    rows = []
    for name, way in section(remedy, "climbs").items():
        taken, target = way.get("own_layers"), number(way.get("target"))
        for rung in listed(way.get("rungs")):
            own = rung.get("own_layers")
            what = f"{own} top layer{'s' if own != 1 else ''} its own" if own else "its head trained again"
            passes, score = number(rung.get("passes")), number(rung.get("validation"))
            rows.append([said(name), f"{what}{', taken' if own == taken else ''}", points(score), points(target),
                         decimal(passes, 2) if known(passes) else "–"])  # fmt: skip
    if not rows:
        return []
    columns = [*words("task", "rung"), *numbers("validation", "wanted", "passes to answer it beside the others")]
    kept = paragraph("The first seed's model with what was taken: ", code(f"{remedy.get('model')}/"), ".")
    return [table("The ladder, rung by rung, in the first seed; points of 100.", columns, rows), kept]


def _rates(name: str, own: Json) -> list[Html | str]:
    tried = [one for one in listed(own.get("tried")) if isinstance(one, Mapping)]
    scores = [f"{_rate(one.get('learning_rate'))}: {points(number(one.get('validation')))}" for one in tried]
    return [said(name), _rate(own.get("learning_rate")), _rate(own.get("factor")), ", ".join(scores)]


def _rate(value: object) -> str:
    """As a run file has it."""
    rate = number(value)
    return f"{rate:g}" if known(rate) else "–"


def _beside(task: Result, twin: Result) -> list[Html | str]:
    change = twin.difference
    shown = joined([difference(change.mean), " ", interval(change.low, change.high)])
    return [
        said(task.name), points(mean(task.single)), points(mean(twin.single)), points(mean(task.shared)), shown,
        verdict(twin.verdict),
    ]  # fmt: skip
