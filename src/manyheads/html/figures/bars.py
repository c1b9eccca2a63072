"""Bars: amounts by name, longest as wide as the figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.markup import Html, element, percent

THICK = 20
"""Pixels."""


@dataclass(frozen=True, slots=True)
class Bar:
    """An amount."""

    name: str
    note: str
    """Below the name."""
    amount: float
    shown: str
    """The amount as it is written."""


def bars(rows: Sequence[Bar], description: str) -> Html:
    """One bar below the other, from zero."""
    longest = max((row.amount for row in rows), default=0.0) or 1.0
    drawn = [
        element(
            "div",
            {"class": "row"},
            element("div", {"class": "name"}, row.name, element("span", {"class": "note"}, row.note)),
            element(
                "div",
                {"class": "plot"},
                element(
                    "svg",
                    {"width": "100%", "height": THICK, "aria-hidden": "true"},
                    element("rect", {"x": 0, "y": 2, "height": THICK - 4, "width": percent(row.amount / longest),
                                     "class": "bar"}),
                ),
            ),
            element("div", {"class": "shown"}, row.shown),
        )
        for row in rows
    ]  # fmt: skip
    return element("div", {"class": "forest bars", "role": "img", "aria-label": description}, *drawn)
