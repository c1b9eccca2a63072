"""The frame of figures over two axes: grid, ticks and titles around what is drawn.

Curves are drawn in an SVG that stretches with the width, with lines that do not; marks and letters beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.figures.scale import Scale
from manyheads.html.markup import Attributes, Html, element, percent

HEIGHT = 210
"""Pixels of the plot."""
TOP = 10
FOOT = 24
"""Pixels above and below it."""
WIDE = 1000
"""Units across the stretched part."""
LEFT = 46
"""Pixels of the names of ticks at the left."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale and what it measures."""

    title: str
    scale: Scale


def down(scale: Scale, value: float) -> float:
    """The height of a value, in pixels from the top of the figure."""
    return TOP + HEIGHT * (1 - scale.at(value))


def trace(x: Scale, y: Scale, points: Sequence[tuple[float, float]]) -> str:
    """Points of a polyline in the stretched part."""
    return " ".join(f"{WIDE * x.at(one):.1f},{down(y, other):.1f}" for one, other in points)


def chart(x: Axis, y: Axis, description: str, *, stretched: Sequence[Html], marks: Sequence[Html] = ()) -> Html:
    """The figure. `stretched` is drawn `WIDE` units across, `marks` at percentages; both in pixels from the top."""
    total = TOP + HEIGHT + FOOT
    beside = [
        element("text", {"x": LEFT - 8, "y": down(y.scale, tick) + 4, "class": "tick last"}, y.scale.name(tick))
        for tick in y.scale.ticks
    ]
    grid = [
        element("line", {"x1": "0%", "x2": "100%", "y1": at, "y2": at, "class": "grid"})
        for at in (down(y.scale, tick) for tick in y.scale.ticks)
    ]
    below = [
        element("text", {"x": percent(x.scale.at(tick)), "y": total - 6, "class": f"tick {anchor(x.scale.at(tick))}"},
                x.scale.name(tick))
        for tick in x.scale.ticks
    ]  # fmt: skip
    stretch: Attributes = {
        "width": "100%",
        "height": total,
        "viewBox": f"0 0 {WIDE} {total}",
        "preserveAspectRatio": "none",
    }
    plot = [*grid, *below, element("svg", stretch, *stretched), *marks]
    return element(
        "div",
        {"class": "chart", "role": "img", "aria-label": description},
        element("p", {"class": "axis-title above"}, y.title),
        element("svg", {"width": LEFT, "height": total, "class": "beside", "aria-hidden": "true"}, *beside),
        element("svg", {"width": "100%", "height": total, "class": "plot", "aria-hidden": "true"}, *plot),
        element("p", {"class": "axis-title below"}, x.title),
    )


def anchor(place: float) -> str:
    """How a name stands at its tick: names near the ends stay inside."""
    return "first" if place < 0.04 else "last" if place > 0.96 else "middle"
