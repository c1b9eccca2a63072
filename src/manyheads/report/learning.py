"""Learning curves of a run, and what each of its steps was spent on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from manyheads.html.figures.lines import Line, Titles, lines, thinned
from manyheads.html.figures.marks import legend
from manyheads.html.figures.shares import Layers, stacked
from manyheads.html.markup import element, user_text
from manyheads.html.numbers import count, points, significant
from manyheads.html.page import Exhibit, Part, paragraph
from manyheads.html.tables import Column, numbers, table, words
from manyheads.report.diagnostics import pull_exhibit
from manyheads.report.history import History, Points

MAX_BINS = 60
"""Bins of steps in a figure of shares."""
MAX_ROWS = 24
"""Rows of a table over steps."""


def learning_parts(history: History, tasks: Sequence[str]) -> list[Part]:
    """Validation scores and training losses by step."""
    return [*_score_curves(history, tasks), *_loss_curves(history)]


def share_parts(history: History) -> list[Part]:
    """Loss weights, pulls and tokens of the tasks by step."""
    return [*_weights(history), *_pulls(history), *_tokens(history)]


def _score_curves(history: History, tasks: Sequence[str]) -> list[Part]:
    names = [name for name in tasks if len(history.headlines.get(name, {})) > 1]
    if not names:
        return []
    series = [Line(name, [(s, 100 * v) for s, v in sorted(history.headlines[name].items())]) for name in names]
    drawing = lines(series, f"Validation scores by step: {', '.join(names)}", Titles("step", "points of 100"))
    steps = _spaced(sorted({step for name in names for step in history.headlines[name]}))
    rows = [
        [count(at), *(points(history.headlines[name].get(at)) for name in names), points(history.combined.get(at))]
        for at in steps
    ]
    numbers_table = table("Headline scores on validation data.", numbers("step", *map(user_text, names), "combined"), rows)
    note = _before_the_first_step(history)
    return [Exhibit("Scores on validation data.", element("div", None, legend(names), drawing), numbers_table, note)]


def _before_the_first_step(history: History) -> str:
    """A sentence about tasks that trained the encoder alone; empty without any."""
    if not history.first_tasks:
        return ""
    found = history.first_tasks.items()
    scores = (name if math.isnan(score) else f"{name} ({points(score)} afterwards)" for name, score in found)
    return f"Step 0 is the untrained encoder. Before the first step, it was trained on {' and '.join(scores)} alone."


def _loss_curves(history: History) -> list[Part]:
    names = [name for name, found in history.losses.items() if found]
    if not names:
        return []
    series = [Line(name, thinned(sorted(history.losses[name].items()))) for name in names]
    drawing = lines(series, f"Training losses by step: {', '.join(names)}", Titles("step", "loss"), include=(0.0,))
    note = "By default, 1 is the loss of an untrained head (`normalize`). Points are means of neighbouring steps."
    numbers_table = table("Mean loss.", *_binned_rows(history.losses, names, history.steps))
    return [Exhibit("Training losses.", element("div", None, legend(names), drawing), numbers_table, note)]


def _weights(history: History) -> list[Part]:
    """Weights of losses or gradients; just a sentence if they are constant."""
    names = [name for name, found in history.weights.items() if found]
    if not names:
        return []
    if all(len(set(history.weights[name].values())) == 1 for name in names):
        values = ", ".join(f"{name} {significant(next(iter(history.weights[name].values())))}" for name in names)
        return [paragraph(f"The loss weights were constant: {values}.")]
    note = "Each task's share of the sum of all loss or gradient weights."
    filled = {name: _filled(history.weights[name], history.steps) for name in names}
    return [_stacked(filled, names, history.steps, "How losses were weighted.", note, "Mean weight")]


def _pulls(history: History) -> list[Part]:
    """Root mean square of each task's pull, over the steps in which it is known."""
    found = {name: {"value": math.sqrt(sum(v * v for v in pulls.values()) / len(pulls))}
             for name, pulls in history.pulls.items() if pulls}  # fmt: skip
    exhibit = pull_exhibit(found, list(found))
    return [] if exhibit is None else [exhibit]


def _tokens(history: History) -> list[Part]:
    names = [name for name, found in history.tokens.items() if found]
    if not names or history.steps < 2:
        return []
    steps = {step for name in names for step in history.tokens[name]}
    spent = {name: {step: history.tokens[name].get(step, 0.0) for step in steps} for name in names}
    return [_stacked(spent, names, history.steps, "Tokens of each task in a step.", "", "Mean tokens per step")]


def _stacked(
    found: Mapping[str, Points], names: Sequence[str], steps: int, title: str, note: str, caption: str
) -> Exhibit:
    """Shares by step, with a table of the amounts."""
    bins = min(MAX_BINS, steps)
    amounts = {name: _binned(found[name], steps, bins) for name in names}
    layers = Layers(
        names,
        [(first + last) / 2 for first, last in _bins(steps, bins)],
        [[amounts[name][k] or 0.0 for name in names] for k in range(bins)],
    )
    drawing = stacked(layers, f"{title} Shares by step: {', '.join(names)}", "step")
    return Exhibit(title, drawing, table(f"{caption}.", *_binned_rows(found, names, steps)), note)


def _binned_rows(
    found: Mapping[str, Points], names: Sequence[str], steps: int
) -> tuple[list[Column], list[list[str]]]:
    """Columns and rows of a table of means over bins of steps."""
    means = {name: _binned(found[name], steps, MAX_ROWS) for name in names}
    rows = [
        [f"{first:,} to {last:,}", *(significant(means[name][k]) for name in names)]
        for k, (first, last) in enumerate(_bins(steps, MAX_ROWS))
    ]
    return [*words("steps"), *numbers(*map(user_text, names))], rows


def _bins(steps: int, bins: int) -> list[tuple[int, int]]:
    """First and last step of each bin; one bin per step if there are fewer steps than bins."""
    bins = min(bins, steps)
    return [(steps * k // bins, steps * (k + 1) // bins - 1) for k in range(bins)]


def _binned(found: Points, steps: int, bins: int) -> list[float | None]:
    """Mean of each bin, over the steps that have a value."""
    means: list[float | None] = []
    for first, last in _bins(steps, bins):
        values = [found[step] for step in range(first, last + 1) if step in found]
        means.append(sum(values) / len(values) if values else None)
    return means


def _filled(found: Points, steps: int) -> Points:
    """A weight for every step: the latest known one, or the first one."""
    last, filled = found[min(found)], {}
    for step in range(steps):
        last = found.get(step, last)
        filled[step] = last
    return filled


def _spaced(steps: Sequence[int]) -> list[int]:
    """At most MAX_ROWS of the steps, evenly spaced, including the first and the last."""
    if len(steps) <= MAX_ROWS:
        return list(steps)
    return [steps[round(k * (len(steps) - 1) / (MAX_ROWS - 1))] for k in range(MAX_ROWS)]
