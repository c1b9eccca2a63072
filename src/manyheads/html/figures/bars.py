"""Horizontal bar chart; the longest bar spans the figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.figures.chart import figure_row, plot
from manyheads.html.markup import Html, element, percent

BAR_PIXELS = 20


@dataclass(frozen=True, slots=True)
class Bar:
    """A named amount."""

    name: str
    note: str
    """Shown below the name."""
    amount: float
    shown: str
    """The amount, formatted."""


def bars(rows: Sequence[Bar], description: str) -> Html:
    """The figure; all bars start at zero."""
    longest = max((row.amount for row in rows), default=0.0) or 1.0
    drawn = []
    for row in rows:
        width = percent(row.amount / longest)
        bar = element("rect", {"x": 0, "y": 2, "height": BAR_PIXELS - 4, "width": width, "class": "bar"})
        drawn.append(figure_row(row.name, row.note, plot(BAR_PIXELS, bar), row.shown))
    return element("div", {"class": "forest bars", "role": "img", "aria-label": description}, *drawn)
