"""Stacked area chart of shares over time, for tokens or loss weights of each task.

Decided here: a layer is labelled where it is thickest, if it is thick enough; the legend has the same order as the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.figures.chart import HEIGHT, TOP, WIDE, Axis, anchor, chart
from manyheads.html.figures.marks import series_class
from manyheads.html.figures.scale import Scale, tight_scale
from manyheads.html.markup import Html, element, percent, user_text

LABEL_PIXELS = 18
"""Height of a label."""
FULL = Scale(0.0, 100.0, (0.0, 25.0, 50.0, 75.0, 100.0), 0)


@dataclass(frozen=True, slots=True)
class Layers:
    """Amounts of each name along x; they need not add up to a constant."""

    names: Sequence[str]
    x: Sequence[float]
    amounts: Sequence[Sequence[float]]
    """`amounts[i][k]`: amount of name k at x[i]."""

    def shares(self) -> list[list[float]]:
        """Amounts divided by their sum; equal shares if it is zero."""
        totals = [sum(row) for row in self.amounts]
        return [
            [value / total for value in row] if total > 0 else [1 / len(row)] * len(row)
            for row, total in zip(self.amounts, totals, strict=True)
        ]


def stacked(layers: Layers, description: str, title: str) -> Html:
    """The figure: a legend and the layers, first on top."""
    scale = tight_scale(layers.x)
    shares = layers.shares()
    edges = [[sum(row[:k]) for k in range(len(row) + 1)] for row in shares]
    areas, names = [], []
    for k, name in enumerate(layers.names):
        upper = [(x, edge[k]) for x, edge in zip(layers.x, edges, strict=True)]
        lower = [(x, edge[k + 1]) for x, edge in zip(layers.x, edges, strict=True)]
        outline = " ".join(
            f"{WIDE * scale.at(x):.1f},{TOP + HEIGHT * edge:.1f}" for x, edge in [*upper, *reversed(lower)]
        )
        areas.append(element("polygon", {"points": outline, "class": f"layer {series_class(k)}"}))
        thickest = max(_inner(len(shares)), key=lambda i: shares[i][k])
        if shares[thickest][k] * HEIGHT >= LABEL_PIXELS:
            place = scale.at(layers.x[thickest])
            middle = TOP + HEIGHT * (edges[thickest][k] + edges[thickest][k + 1]) / 2 + 4
            names.append(
                element("text", {"x": percent(place), "y": middle, "class": f"layer-name {anchor(place)}"}, name)
            )
    drawing = chart(Axis(title, scale), Axis("percent", FULL), description, stretched=areas, marks=names)
    return element("div", None, _key(layers.names), drawing)


def _inner(places: int) -> range:
    """Places far enough from both ends for a label."""
    edge = places // 8
    return range(edge, places - edge)


def _key(names: Sequence[str]) -> Html:
    items = []
    for k, name in enumerate(names):
        sample = element("rect", {"x": 1, "y": 1, "width": 16, "height": 12, "class": f"layer {series_class(k)}"})
        items.append(
            element("li", None, element("svg", {"width": 18, "height": 14, "aria-hidden": "true"}, sample), user_text(name))
        )
    return element("ol", {"class": "legend"}, *items)
