"""The shared model and the single models side by side: cost, scores of every seed, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manyheads.html.figures.forest import Dot, Estimate, forest
from manyheads.html.figures.lines import Line, Titles, lines
from manyheads.html.figures.marks import legend
from manyheads.html.markup import Html, box, element, user_text
from manyheads.html.numbers import decimal, is_number, large, points, significant, to_points
from manyheads.html.page import Exhibit, Part, paragraph
from manyheads.html.tables import Column, numbers, table, words
from manyheads.report.metric_names import metric_name
from manyheads.report.results import Json, Result, deviation, listed, mean, number, section

TWINS = ("shared", "single")


def cost(costs: Json) -> list[Part]:
    """Parameters, size and time of the shared model and of all single models together."""
    found = {name: section(costs, name) for name in TWINS}
    if not all(found.values()):
        return []
    kinds = (
        ("parameters", "Parameters", large),
        ("megabytes", "Weights, MB", significant),
        ("seconds_per_1000", "Seconds per 1,000 texts, all tasks", significant),
        ("training_tokens", "Training tokens, forward and backward", large),
    )
    rows, ratios = [], {}
    for key, name, shown in kinds:
        if not any(key in side for side in found.values()):
            continue
        one, all_of_them = (number(found[twin].get(key)) for twin in TWINS)
        ratio = all_of_them / one if is_number(one) and is_number(all_of_them) and one else None
        ratios[key] = ratio
        rows.append([name, shown(one), shown(all_of_them), f"{significant(ratio, 2)} ×" if is_number(ratio) else "–"])
    columns = [*words("cost"), *numbers("shared model", "single models together", "single / shared")]
    size, time = ratios["parameters"], ratios["seconds_per_1000"]
    first = []
    if is_number(size) and is_number(time):
        first = [
            paragraph(
                f"The single models together have {significant(size, 2)} times the parameters of the shared one and take "
                f"{significant(time, 2)} times as long."
            )
        ]
    return [*first, table("One shared model against one model for each task.", columns, rows)]


def seed_by_seed(tasks: Sequence[Result], seeds: Sequence[object]) -> list[Part]:
    """The scores of every seed."""
    shown = [task for task in tasks if any(map(is_number, [*task.shared, *task.single]))]
    if not shown:
        return []
    panels = []
    for task in shown:
        rows = [
            Estimate(
                name=Html(twin), note=f"mean {points(mean(values))}",
                shown=f"sd {significant(to_points(deviation(values)), 2)}", value=to_points(mean(values)),
                shape=k, kind=f"s{k}",
                dots=[Dot(100 * value, k, f"s{k}") for value in values if is_number(value)],
            )
            for k, (twin, values) in enumerate(zip(TWINS, (task.shared, task.single), strict=True))
        ]  # fmt: skip
        drawn = forest(rows, f"Scores of {task.name} by seed", axis=f"{metric_name(task.metric)}, points of 100")
        panels.append(element("div", None, element("p", {"class": "title"}, user_text(task.name)), drawn))
    columns = [*words("task", "model"), *(Column(f"seed {seed}") for seed in seeds), *numbers("mean", "sd")]
    rows_ = [
        [user_text(task.name), twin, *(points(values[i] if i < len(values) else None) for i in range(len(seeds))),
         points(mean(values)), significant(to_points(deviation(values)), 2)]
        for task in shown
        for twin, values in zip(TWINS, (task.shared, task.single), strict=True)
    ]  # fmt: skip
    note = "Hollow marks: seeds. Filled marks: their mean. Each task has its own axis."
    numbers_table = table("Scores of all seeds, in points of 100.", columns, rows_)
    return [Exhibit("Scores of every run.", box("multiples", *panels), numbers_table, note)]


def curves(tasks: Sequence[Result]) -> list[Part]:
    """Validation scores of the shared and single models, by examples of the task seen."""
    panels, rows = [], []
    for task in tasks:
        series = []
        for twin in TWINS:
            found = [one for one in listed(task.curves.get(twin)) if isinstance(one, Mapping)]
            read = [tuple(number(one.get(key)) for key in ("examples", "score", "low", "high")) for one in found]
            dots = [(x, 100 * y) for x, y, _, _ in read if is_number(x) and is_number(y)]
            band = [(x, 100 * a, 100 * b) for x, _, a, b in read if is_number(x) and is_number(a) and is_number(b)]
            series.append(Line(twin, dots, band))
            rows += [
                [user_text(task.name), twin, decimal(x, 0), points(y), points(low), points(high)]
                for x, y, low, high in read
                if is_number(x)
            ]
        if any(line.points for line in series):
            drawn = lines(
                series,
                f"Learning curves of {task.name}, shared and single, over examples of the task",
                Titles(f"examples of {task.name} seen", f"{metric_name(task.metric)}, points of 100"),
            )
            panels.append(element("div", None, element("p", {"class": "title"}, user_text(task.name)), drawn))
    if not panels:
        return []
    drawing = element("div", None, legend(TWINS), box("multiples", *panels))
    columns = [*words("task", "model"), *numbers("examples", "score", "from", "to")]
    note = "Both models at the same number of examples of the task. Bands: range over seeds."
    numbers_table = table("Validation scores during training, in points of 100.", columns, rows)
    return [Exhibit("Learning curves, shared and single.", drawing, numbers_table, note)]
