"""Forest plot: one row per estimate, with its interval as a line, over a common axis (Lewis & Clarke 2001)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.figures.chart import figure_row, plot, tick_labels
from manyheads.html.figures.marks import mark
from manyheads.html.figures.scale import Scale, round_scale
from manyheads.html.markup import Html, box, element, percent
from manyheads.html.numbers import is_number

ROW_HEIGHT = 40


@dataclass(frozen=True, slots=True)
class Dot:
    """A secondary mark in a row, such as a single seed or another split."""

    value: float
    shape: int
    kind: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """One row."""

    name: Html
    note: Html | str
    """Shown below the name."""
    shown: str
    """Formatted value, shown on the right."""
    value: float | None
    low: float | None = None
    high: float | None = None
    shape: int = 0
    kind: str = "s0"
    """CSS class that sets the colour."""
    hollow: bool = False
    dots: Sequence[Dot] = ()
    """Drawn below the interval."""


def forest(
    rows: Sequence[Estimate],
    description: str,
    *,
    axis: str,
    sides: tuple[str, str] | None = None,
    band: tuple[float, float] | None = None,
) -> Html:
    """The figure. `sides`: labels for the left and right of zero; `band`: shaded range that counts as zero."""
    found = [v for row in rows for v in (row.value, row.low, row.high, *(dot.value for dot in row.dots)) if is_number(v)]
    scale = round_scale([*found, *([0.0] if sides else []), *(band or ())], ticks=6)
    drawn = [_row(row, scale, sides is not None, band) for row in rows]
    foot = [box("row axis", box("plot", _axis(scale, axis)))]
    head = [_sides(*sides)] if sides else []
    return element("div", {"class": "forest", "role": "img", "aria-label": description}, *head, *drawn, *foot)


def _sides(left: str, right: str) -> Html:
    return box("row sides", box("plot", element("span", None, f"← {left}"), element("span", None, f"{right} →")))


def _row(row: Estimate, scale: Scale, zero: bool, band: tuple[float, float] | None) -> Html:
    middle = ROW_HEIGHT / 2 - (6 if row.dots else 0)
    parts = [*_ground(scale, zero, band)]
    if is_number(row.low) and is_number(row.high):
        parts += _interval(scale.at(row.low), scale.at(row.high), middle, f"interval {row.kind}")
    below = ROW_HEIGHT - 9
    parts += [mark(dot.shape, f"{dot.kind} small", scale.at(dot.value), below, hollow=True) for dot in row.dots]
    if is_number(row.value):
        parts.append(mark(row.shape, row.kind, scale.at(row.value), middle, hollow=row.hollow))
    return figure_row(row.name, row.note, plot(ROW_HEIGHT, *parts), row.shown)


def _interval(low: float, high: float, middle: float, kind: str) -> list[Html]:
    """A line with a cap at each end."""
    lines = ((low, high, middle, middle), (low, low, middle - 5, middle + 5), (high, high, middle - 5, middle + 5))
    return [
        element("line", {"x1": percent(x1), "x2": percent(x2), "y1": y1, "y2": y2, "class": kind})
        for x1, x2, y1, y2 in lines
    ]


def _ground(scale: Scale, zero: bool, band: tuple[float, float] | None) -> list[Html]:
    """Equivalence band, grid and zero line."""
    parts = []
    if band:
        left, right = scale.at(band[0]), scale.at(band[1])
        width = percent(right - left)
        parts.append(element("rect", {"x": percent(left), "width": width, "y": 0, "height": ROW_HEIGHT, "class": "band"}))
    for tick in scale.ticks:
        at, kind = percent(scale.at(tick)), "zero" if zero and abs(tick) < 1e-12 else "grid"
        parts.append(element("line", {"x1": at, "x2": at, "y1": 0, "y2": ROW_HEIGHT, "class": kind}))
    return parts


def _axis(scale: Scale, title: str) -> Html:
    return element("div", None, plot(20, *tick_labels(scale, 14)), element("p", {"class": "axis-title"}, title))
