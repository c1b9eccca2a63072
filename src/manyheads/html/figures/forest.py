"""Forest plot: one row for each estimate, its interval as a line, its mark on it, all over one axis (Lewis & Clarke 2001)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.figures.marks import mark
from manyheads.html.figures.scale import Scale, round_scale
from manyheads.html.markup import Html, element, percent
from manyheads.html.numbers import known

ROW = 40
"""Pixels."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A further mark in a row: a single seed, another split."""

    value: float
    shape: int
    kind: str
    hollow: bool = True


@dataclass(frozen=True, slots=True)
class Estimate:
    """A row."""

    name: Html
    note: Html | str
    """Below the name."""
    shown: str
    """The figures, to the right."""
    value: float | None
    low: float | None = None
    high: float | None = None
    shape: int = 0
    kind: str = "s0"
    """The class that colours it."""
    hollow: bool = False
    dots: Sequence[Dot] = ()
    """Below the interval."""


def forest(
    rows: Sequence[Estimate],
    description: str,
    *,
    axis: str,
    sides: tuple[str, str] | None = None,
    band: tuple[float, float] | None = None,
) -> Html:
    """Rows over one axis. `sides`: what lies to both sides of zero; `band`: shaded, what counts as zero."""
    found = [v for row in rows for v in (row.value, row.low, row.high, *(dot.value for dot in row.dots)) if known(v)]
    scale = round_scale([*found, *([0.0] if sides else []), *(band or ())], ticks=6)
    drawn = [_row(row, scale, sides is not None, band) for row in rows]
    foot = element("div", {"class": "row axis"}, element("div", {"class": "plot"}, _axis(scale, axis)))
    head = _sides(*sides) if sides else Html()
    return element("div", {"class": "forest", "role": "img", "aria-label": description}, head, *drawn, foot)


def _sides(left: str, right: str) -> Html:
    ends = element("span", None, f"← {left}"), element("span", None, f"{right} →")
    return element("div", {"class": "row sides"}, element("div", {"class": "plot"}, *ends))


def _row(row: Estimate, scale: Scale, zero: bool, band: tuple[float, float] | None) -> Html:
    middle = ROW / 2 - (6 if row.dots else 0)
    parts = [*_ground(scale, zero, band)]
    if known(row.low) and known(row.high):
        parts += _interval(scale.at(row.low), scale.at(row.high), middle, f"interval {row.kind}")
    parts += [mark(dot.shape, f"{dot.kind} small", scale.at(dot.value), ROW - 9, hollow=dot.hollow) for dot in row.dots]
    if known(row.value):
        parts.append(mark(row.shape, row.kind, scale.at(row.value), middle, hollow=row.hollow))
    plot = element("svg", {"width": "100%", "height": ROW, "aria-hidden": "true"}, *parts)
    name = element("div", {"class": "name"}, row.name, element("span", {"class": "note"}, row.note))
    return element(
        "div", {"class": "row"}, name, element("div", {"class": "plot"}, plot),
        element("div", {"class": "shown"}, row.shown),
    )  # fmt: skip


def _interval(low: float, high: float, middle: float, kind: str) -> list[Html]:
    """A line with an end at each side."""
    lines = ((low, high, middle, middle), (low, low, middle - 5, middle + 5), (high, high, middle - 5, middle + 5))
    return [
        element("line", {"x1": percent(x1), "x2": percent(x2), "y1": y1, "y2": y2, "class": kind})
        for x1, x2, y1, y2 in lines
    ]


def _ground(scale: Scale, zero: bool, band: tuple[float, float] | None) -> list[Html]:
    """The margin, the lines of the ticks, and the line at zero."""
    parts = []
    if band:
        left, right = scale.at(band[0]), scale.at(band[1])
        parts.append(
            element(
                "rect", {"x": percent(left), "width": percent(right - left), "y": 0, "height": ROW, "class": "band"}
            )
        )
    for tick in scale.ticks:
        at, kind = percent(scale.at(tick)), "zero" if zero and abs(tick) < 1e-12 else "grid"
        parts.append(element("line", {"x1": at, "x2": at, "y1": 0, "y2": ROW, "class": kind}))
    return parts


def _axis(scale: Scale, title: str) -> Html:
    names = [
        element(
            "text",
            {"x": percent(scale.at(tick)), "y": 14, "class": f"tick {_anchor(scale.at(tick))}"},
            scale.name(tick),
        )
        for tick in scale.ticks
    ]
    drawn = element("svg", {"width": "100%", "height": 20, "aria-hidden": "true"}, *names)
    return element("div", None, drawn, element("p", {"class": "axis-title"}, title))


def _anchor(place: float) -> str:
    """Names at the ends stay inside."""
    return "first" if place < 0.02 else "last" if place > 0.98 else "middle"
