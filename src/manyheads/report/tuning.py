"""The page of `manyheads tune`: what was tried, what came out, and which settings matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manyheads.html.figures.bars import Bar, bars
from manyheads.html.figures.lines import Line, Titles, lines
from manyheads.html.markup import code, said
from manyheads.html.numbers import counted, known, points, share, significant
from manyheads.html.page import Exhibit, Page, Part, Section, aside, document, paragraph
from manyheads.html.tables import numbers, table, words
from manyheads.report.apparatus import run_section
from manyheads.report.names import metric_name
from manyheads.report.results import Json, number, section, text

MOST_CURVES = 6
"""Of the best trials: more cannot be told apart."""


def tuning_page(tune: Json) -> str:
    """The report of a tuning, one HTML file, from the content of its `tune.json`."""
    trials: Sequence[Json] = tune.get("trials", [])
    finished = [each for each in trials if known(number(each.get("score")))]
    sentence = text(tune.get("sentence"))
    return document(
        Page(
            title="Settings by trials",
            eyebrow=f"manyheads tune · {text(tune.get('run'))}",
            lede=f"{sentence[:1].upper()}{sentence[1:]}.",
            sections=[
                Section("trials", "Trials", _trials(trials, finished)),
                Section("curves", "On the way", _curves(finished)),
                Section("importance", "Which settings matter", _importance(section(tune, "importance"))),
                Section("scores", "The model that was trained with them", _scores(section(tune, "scores"))),
                Section("space", "What was tuned", _space(tune)),
                run_section(_flat(section(tune, "given")), section(tune, "versions"), {}),
            ],
            facts=[
                ("Trials", f"{len(trials)}, {len(finished)} of them to the end"),
                ("Noise", f"± {points(number(tune.get('noise')))} points"),
                ("Seed", text(tune.get("seed")) or str(tune.get("seed"))),
            ],
            footer="Made by manyheads from tune.json, which holds the same figures. This page needs no network.",
        )
    )


def _trials(trials: Sequence[Json], finished: Sequence[Json]) -> list[Part]:
    if not trials:
        return []
    names = list(dict.fromkeys(name for each in trials for name in section(each, "values")))
    columns = [*numbers("trial"), *words(*names), *numbers("score"), *words("")]
    rows = [
        [str(each.get("number")), *(said(_shown(section(each, "values").get(name))) for name in names),
         points(number(each.get("score"))), said(text(each.get("note")))]
        for each in trials
    ]  # fmt: skip
    found = table("Combined validation scores, in points of 100.", columns, rows)
    best, so_far = list[tuple[float, float]](), float("-inf")
    for each in finished:
        so_far = max(so_far, float(each["score"]))
        best.append((float(each["number"]), 100 * so_far))
    scores = [(float(each["number"]), 100 * float(each["score"])) for each in finished]
    drawing = lines(
        [Line("score", scores), Line("best so far", best)],
        "Combined validation score of each finished trial, and the best so far.",
        Titles("trial", "combined validation score"),
    )
    return [
        Exhibit("What each trial came to.", drawing, found, "Circles: the trials that were finished; the other line: the "
                "best so far."),
        aside("The score of the best of several trials is a little too good: it was chosen by it. Test scores, below, are "
              "of the model trained in the end, and were not looked at before."),
    ]  # fmt: skip


def _curves(finished: Sequence[Json]) -> list[Part]:
    best = sorted(finished, key=lambda each: -float(each["score"]))[:MOST_CURVES]
    series = [
        Line(f"trial {each['number']}", [(100 * float(at["part"]), 100 * float(at["score"])) for at in each["evaluations"]])
        for each in best
    ]  # fmt: skip
    if not any(line.points for line in series):
        return []
    drawing = lines(series, "Validation scores on the way of the best trials.", Titles("% of the training", "score"))
    rows = [[line.name, f"{at:.0f} %", f"{score:.1f}"] for line in series for at, score in line.points]
    columns = [*words("trial"), *numbers("part of the training", "score")]
    return [Exhibit("The best trials on their way.", drawing, table("Scores on the way.", columns, rows))]


def _importance(found: Json) -> list[Part]:
    if not found:
        return []
    shares = {name: number(value) or 0.0 for name, value in found.items()}
    drawing = bars([Bar(name, "", amount, share(amount)) for name, amount in shares.items()],
                   "How much of the differences of trials each setting explains.")  # fmt: skip
    rows = [[said(name), share(amount)] for name, amount in shares.items()]
    columns = [*words("setting"), *numbers("importance")]
    return [
        Exhibit("What the differences of finished trials come from.", drawing,
                table("Shares of what settings explain (PED-ANOVA).", columns, rows)),
    ]  # fmt: skip


def _scores(scores: Json) -> list[Part]:
    rows = [
        [said(task), split, metric_name(metric), points(number(value))]
        for task, splits in scores.items()
        if isinstance(splits, Mapping)
        for split, metrics in splits.items()
        if isinstance(metrics, Mapping)
        for metric, value in metrics.items()
        if known(number(value))
    ]
    if not rows:
        return []
    return [table("Scores, in points of 100.", [*words("task", "split", "metric"), *numbers("score")], rows)]


def _space(tune: Json) -> list[Part]:
    rows = [
        [code(text(each.get("name"))), _shown(each.get("usual")),
         ", ".join(map(str, each["choices"])) if each.get("choices") else f"{_shown(each.get('low'))} to "
         f"{_shown(each.get('high'))}"]
        for each in tune.get("settings", [])
    ]  # fmt: skip
    if not rows:
        return []
    held = section(tune, "held")
    parts: list[Part] = [table("Settings and their ranges.", words("setting", "without tuning", "tried"), rows)]
    if held:
        reasons = "; ".join(f"{name} ({why})" for name, why in held.items())
        parts.append(paragraph(f"{counted(len(held), 'setting')} held: ", said(reasons), "."))
    return parts


def _shown(value: Any) -> str:
    return "" if value is None else significant(value) if isinstance(value, float) else str(value)


def _flat(values: Json, before: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) and value else {f"{before}{key}": value}
    return found
