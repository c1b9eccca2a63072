"""Shared model and single models side by side: what they cost, every seed, how fast they learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manyheads.html.figures.forest import Dot, Estimate, forest
from manyheads.html.figures.lines import Line, Titles, lines
from manyheads.html.figures.marks import legend
from manyheads.html.markup import Html, element, said
from manyheads.html.numbers import decimal, hundredfold, known, large, points, significant
from manyheads.html.page import Exhibit, Part, paragraph
from manyheads.html.tables import Column, numbers, table, words
from manyheads.report.names import metric_name
from manyheads.report.results import Json, Result, deviation, listed, mean, number, section

TWINS = ("shared", "single")


def cost(said_of: Json) -> list[Part]:
    """Parameters, size and time of the shared model against all single ones."""
    found = {name: section(said_of, name) for name in TWINS}
    if not all(found.values()):
        return []
    kinds = (
        ("parameters", "Parameters", large),
        ("megabytes", "Weights, MB", significant),
        ("seconds_per_1000", "Seconds per 1,000 texts, all tasks", significant),
        ("training_tokens", "Tokens trained on, forward and backward", large),
    )
    rows, ratios = [], {}
    for key, name, shown in kinds:
        if not any(key in side for side in found.values()):
            continue
        one, all_of_them = (number(found[twin].get(key)) for twin in TWINS)
        ratio = all_of_them / one if known(one) and known(all_of_them) and one else None
        ratios[key] = ratio
        rows.append([name, shown(one), shown(all_of_them), f"{significant(ratio, 2)} ×" if known(ratio) else "–"])
    columns = [*words("cost"), *numbers("shared model", "single models together", "single over shared")]
    size, time = ratios["parameters"], ratios["seconds_per_1000"]
    first = []
    if known(size) and known(time):
        first = [
            paragraph(
                f"The single models together have {significant(size, 2)} times the parameters of the shared one and take "
                f"{significant(time, 2)} times as long."
            )
        ]
    return [*first, table("One shared model against one model for each task.", columns, rows)]


def seed_by_seed(tasks: Sequence[Result], seeds: Sequence[object]) -> list[Part]:
    """Every score: how much of a difference is luck of the seed."""
    shown = [task for task in tasks if any(map(known, [*task.shared, *task.single]))]
    if not shown:
        return []
    panels = []
    for task in shown:
        rows = [
            Estimate(
                name=Html(twin), note=f"mean {points(mean(values))}",
                shown=f"sd {significant(hundredfold(deviation(values)), 2)}", value=hundredfold(mean(values)),
                shape=k, kind=f"s{k}",
                dots=[Dot(100 * value, k, f"s{k}") for value in values if known(value)],
            )
            for k, (twin, values) in enumerate(zip(TWINS, (task.shared, task.single), strict=True))
        ]  # fmt: skip
        drawn = forest(rows, f"Scores of {task.name} by seed", axis=f"{metric_name(task.metric)}, points of 100")
        panels.append(element("div", None, element("p", {"class": "title"}, said(task.name)), drawn))
    columns = [*words("task", "model"), *(Column(f"seed {seed}") for seed in seeds), *numbers("mean", "sd")]
    rows_ = [
        [said(task.name), twin, *(points(values[i] if i < len(values) else None) for i in range(len(seeds))),
         points(mean(values)), significant(hundredfold(deviation(values)), 2)]
        for task in shown
        for twin, values in zip(TWINS, (task.shared, task.single), strict=True)
    ]  # fmt: skip
    note = "Small hollow marks are seeds, the full ones their mean. Axes differ between tasks."
    numbers_table = table("Scores of all seeds, in points of 100.", columns, rows_)
    return [Exhibit("Every run.", element("div", {"class": "multiples"}, *panels), numbers_table, note)]


def curves(tasks: Sequence[Result]) -> list[Part]:
    """Shared and single at equal examples of the task."""
    panels, rows = [], []
    for task in tasks:
        series = []
        for twin in TWINS:
            found = [one for one in listed(task.curves.get(twin)) if isinstance(one, Mapping)]
            read = [tuple(number(one.get(key)) for key in ("examples", "score", "low", "high")) for one in found]
            dots = [(x, 100 * y) for x, y, _, _ in read if known(x) and known(y)]
            band = [(x, 100 * a, 100 * b) for x, _, a, b in read if known(x) and known(a) and known(b)]
            series.append(Line(twin, dots, band))
            rows += [
                [said(task.name), twin, decimal(x, 0), points(y), points(low), points(high)]
                for x, y, low, high in read
                if known(x)
            ]
        if any(line.points for line in series):
            drawn = lines(
                series,
                f"Learning curves of {task.name}, shared and single, over examples of the task",
                Titles(f"examples of {task.name} seen", f"{metric_name(task.metric)}, points of 100"),
            )
            panels.append(element("div", None, element("p", {"class": "title"}, said(task.name)), drawn))
    if not panels:
        return []
    drawing = element("div", None, legend(TWINS), element("div", {"class": "multiples"}, *panels))
    columns = [*words("task", "model"), *numbers("examples", "score", "from", "to")]
    note = "At one place both have seen as many examples of the task; bands go from the lowest seed to the highest."
    numbers_table = table("Validation scores on the way, in points of 100.", columns, rows)
    return [Exhibit("How fast each task learns, shared and alone.", drawing, numbers_table, note)]
