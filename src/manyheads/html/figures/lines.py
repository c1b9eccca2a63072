"""Line chart over steps or examples, with optional bands, for learning curves and losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.figures.chart import Axis, chart, down, trace
from manyheads.html.figures.marks import series_class, series_mark
from manyheads.html.figures.scale import round_scale, tight_scale
from manyheads.html.markup import Html, element, joined

MAX_MARKS = 8
"""Marks on one line: enough to identify it, without hiding it."""
MAX_POINTS = 80
"""Points of one line: about what a screen can show."""


@dataclass(frozen=True, slots=True)
class Line:
    """A series: points `(x, y)` by increasing x, and `(x, low, high)` of its band."""

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True, slots=True)
class Titles:
    """Titles of the axes."""

    x: str
    y: str


def lines(series: Sequence[Line], description: str, titles: Titles, *, include: Sequence[float] = ()) -> Html:
    """The figure. `include`: values that the y axis must cover."""
    across = [x for line in series for x, _ in line.points]
    heights = [y for line in series for _, y in line.points]
    heights += [y for line in series for _, low, high in line.band for y in (low, high)]
    x = Axis(titles.x, tight_scale(across))
    y = Axis(titles.y, round_scale([*heights, *include], ticks=4))
    bands, strokes, marks = [], [], []
    for index, line in enumerate(series):
        if line.band:
            outline = [(at, high) for at, _, high in line.band] + [(at, low) for at, low, _ in reversed(line.band)]
            bands.append(
                element("polygon", {"points": trace(x.scale, y.scale, outline), "class": f"area {series_class(index)}"})
            )
        if len(line.points) > 1:
            points = trace(x.scale, y.scale, line.points)
            strokes.append(element("polyline", {"points": points, "class": f"line {series_class(index)}"}))
        marks += [series_mark(index, x.scale.at(at), down(y.scale, value)) for at, value in _marked(line.points, index)]
    return chart(x, y, description, stretched=[*bands, *strokes], marks=[joined(marks)])


def thinned(points: Sequence[tuple[float, float]], most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Average neighbouring points so that at most `most` are left."""
    if len(points) <= most:
        return list(points)
    means = []
    for k in range(most):
        group = points[len(points) * k // most : len(points) * (k + 1) // most]
        means.append((sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)))
    return means


def _marked(points: Sequence[tuple[float, float]], index: int) -> list[tuple[float, float]]:
    """Points to mark: all of a short line, some of a long one, at different x for neighbouring series."""
    if len(points) <= MAX_MARKS * 2:
        return list(points)
    every = len(points) // MAX_MARKS
    return list(points[(index * every // 3) % every :: every])
