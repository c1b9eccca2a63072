"""Tables of tuned single models, of their twins, and of the layers that tasks got of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manyheads.html.figures.marks import verdict
from manyheads.html.markup import Html, code, joined, user_text
from manyheads.html.numbers import decimal, difference, interval, is_number, points
from manyheads.html.page import Part, paragraph
from manyheads.html.tables import numbers, table, words
from manyheads.report.results import Json, Result, listed, mean, number, section


def single_models(compare: Json, tasks: Sequence[Result]) -> list[Part]:
    """Tables of the learning rates tried and of the twins; empty if there are none."""
    found = {name: one for name, one in section(compare, "tasks").items() if isinstance(one, Mapping)}
    tried = [_rates(name, section(one, "own")) for name, one in found.items() if section(one, "own")]
    parts: list[Part] = []
    if tried:
        columns = [*words("task"), *numbers("learning rate", "times the default"), *words("validation scores")]
        parts.append(table("Learning rate of each single model, chosen with the first seed.", columns, tried))
    twins = [(task, section(found[task.name], "twin")) for task in tasks if section(found[task.name], "twin")]
    if twins:
        columns = [*words("task"), *numbers("best", "twin", "shared", "shared minus twin"), *words("against the twin")]
        rows = [_beside(task, Result.of(task.name, one)) for task, one in twins]
        caption = "Twins: the shared run without the other tasks' examples, step by step. Points of 100."
        parts.append(table(caption, columns, rows))
    return parts


def rungs(remedy: Json) -> list[Part]:
    """The private layers tried for each task that fell behind, with their validation score and inference cost."""
    rows = []
    for name, way in section(remedy, "climbs").items():
        taken, target = way.get("own_layers"), number(way.get("target"))
        for rung in listed(way.get("rungs")):
            own = rung.get("own_layers")
            what = f"{own} private top layer{'s' if own != 1 else ''}" if own else "head retrained"
            passes, score = number(rung.get("passes")), number(rung.get("validation"))
            rows.append([user_text(name), f"{what}{', chosen' if own == taken else ''}", points(score), points(target),
                         decimal(passes, 2) if is_number(passes) else "–"])  # fmt: skip
    if not rows:
        return []
    columns = [*words("task", "step"), *numbers("validation", "target", "extra encoder passes at inference")]
    kept = paragraph("Model of the first seed with the chosen layers: ", code(f"{remedy.get('model')}/"), ".")
    return [table("Private layers tried with the first seed, step by step; points of 100.", columns, rows), kept]


def _rates(name: str, own: Json) -> list[Html | str]:
    tried = [one for one in listed(own.get("tried")) if isinstance(one, Mapping)]
    scores = [f"{_rate(one.get('learning_rate'))}: {points(number(one.get('validation')))}" for one in tried]
    return [user_text(name), _rate(own.get("learning_rate")), _rate(own.get("factor")), ", ".join(scores)]


def _rate(value: object) -> str:
    """A learning rate as in a run file."""
    rate = number(value)
    return f"{rate:g}" if is_number(rate) else "–"


def _beside(task: Result, twin: Result) -> list[Html | str]:
    change = twin.difference
    shown = joined([difference(change.mean), " ", interval(change.low, change.high)])
    return [
        user_text(task.name), points(mean(task.single)), points(mean(twin.single)), points(mean(task.shared)), shown,
        verdict(twin.verdict),
    ]  # fmt: skip
