"""Frame of figures with two axes: grid, ticks and titles.

Curves are drawn in an SVG that stretches with the width, though their line width does not; marks and text are outside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.figures.scale import Scale
from manyheads.html.markup import Attributes, Html, box, element, percent

HEIGHT = 210
"""Pixels of the plot."""
TOP = 10
FOOT = 24
"""Pixels above and below the plot."""
WIDE = 1000
"""Width of the stretched SVG in its own units."""
LEFT = 46
"""Pixels of the tick labels on the left."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale with a title."""

    title: str
    scale: Scale


def down(scale: Scale, value: float) -> float:
    """Vertical position of a value, in pixels from the top of the figure."""
    return TOP + HEIGHT * (1 - scale.at(value))


def trace(x: Scale, y: Scale, points: Sequence[tuple[float, float]]) -> str:
    """Points of a polyline in the stretched SVG."""
    return " ".join(f"{WIDE * x.at(one):.1f},{down(y, other):.1f}" for one, other in points)


def chart(x: Axis, y: Axis, description: str, *, stretched: Sequence[Html], marks: Sequence[Html] = ()) -> Html:
    """The figure. Horizontally, `stretched` is in units of `WIDE` and `marks` in percentages; vertically both in pixels."""
    total = TOP + HEIGHT + FOOT
    beside, grid = [], []
    for tick in y.scale.ticks:
        at = down(y.scale, tick)
        beside.append(element("text", {"x": LEFT - 8, "y": at + 4, "class": "tick last"}, y.scale.name(tick)))
        grid.append(element("line", {"x1": "0%", "x2": "100%", "y1": at, "y2": at, "class": "grid"}))
    size: Attributes = {"width": "100%", "height": total, "viewBox": f"0 0 {WIDE} {total}", "preserveAspectRatio": "none"}
    inner = [*grid, *tick_labels(x.scale, total - 6), element("svg", size, *stretched), *marks]
    return element(
        "div",
        {"class": "chart", "role": "img", "aria-label": description},
        element("p", {"class": "axis-title above"}, y.title),
        element("svg", {"width": LEFT, "height": total, "class": "beside", "aria-hidden": "true"}, *beside),
        plot(total, *inner, kind="plot"),
        element("p", {"class": "axis-title below"}, x.title),
    )


def anchor(place: float) -> str:
    """Alignment of a tick label; labels near the ends stay inside."""
    return "first" if place < 0.04 else "last" if place > 0.96 else "middle"


def plot(height: int, *children: str, kind: str | None = None) -> Html:
    """A drawing as wide as its place, hidden from screen readers: figures have descriptions."""
    return element("svg", {"width": "100%", "height": height, "class": kind, "aria-hidden": "true"}, *children)


def tick_labels(scale: Scale, y: float) -> list[Html]:
    """Labels of a horizontal axis at height `y`."""
    places = [(scale.at(tick), scale.name(tick)) for tick in scale.ticks]
    return [element("text", {"x": percent(at), "y": y, "class": f"tick {anchor(at)}"}, name) for at, name in places]


def figure_row(name: Html | str, note: Html | str, drawing: Html, shown: str) -> Html:
    """A row of a figure: its name with a note below, the drawing, and the formatted value."""
    title = box("name", name, element("span", {"class": "note"}, note))
    return box("row", title, box("plot", drawing), box("shown", shown))
