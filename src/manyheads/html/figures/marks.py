"""Marks of series and verdicts: each has its own shape and dash, so that no information is in colour alone.

Decided here: a mark is its own SVG, so that it can be placed at a percentage and does not stretch.
"""

from __future__ import annotations

from collections.abc import Sequence

from manyheads.html.markup import Attributes, Html, element, percent, user_text

SHAPES = (
    "M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0-4.5 0Z",  # disc
    "M-4 -4H4V4H-4Z",  # square
    "M0 -5.2L5 4H-5Z",  # triangle
    "M0 -5.6L5.6 0L0 5.6L-5.6 0Z",  # diamond
    "M0 5.2L5 -4H-5Z",  # triangle, point down
    "M-1.6 -5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z",  # cross
)
COLOURS = len(SHAPES)
"""Further series repeat the colours and shapes, hollow."""
VERDICTS = {"helps": 2, "hurts": 4, "equivalent": 1, "no worse": 3, "inconclusive": 0}
"""Shape of each verdict."""
SIGNS = {"helps": "▲", "hurts": "▼", "equivalent": "=", "no worse": "≥", "inconclusive": "?"}


def series_class(index: int) -> str:
    """CSS class for the colour and dash of a series."""
    return f"s{index % COLOURS}{' again' if index >= COLOURS else ''}"


def mark(shape: int, kind: str, x: float, y: float | str, *, hollow: bool = False) -> Html:
    """A shape; `x` is a fraction of the width, `y` in pixels or a percentage."""
    path = element("path", {"d": SHAPES[shape % COLOURS], "class": f"mark {kind}{' hollow' if hollow else ''}"})
    return element("svg", {"x": percent(x), "y": y, "class": "at"}, path)


def series_mark(index: int, x: float, y: float | str) -> Html:
    """The mark of a series."""
    return mark(index % COLOURS, series_class(index), x, y, hollow=index >= COLOURS)


def legend(names: Sequence[str]) -> Html:
    """Legend: each series with its mark on a piece of its line."""
    items = []
    for index, name in enumerate(names):
        line = element("line", {"x1": 0, "x2": 34, "y1": 7, "y2": 7, "class": f"line {series_class(index)}"})
        size: Attributes = {"width": 34, "height": 14, "aria-hidden": "true"}
        items.append(element("li", None, element("svg", size, line, series_mark(index, 0.5, 7)), user_text(name)))
    return element("ul", {"class": "legend"}, *items)


def verdict(word: str, shown: str = "") -> Html:
    """A verdict with its sign. `shown`: its name on the page, if another."""
    sign = element("span", {"aria-hidden": "true"}, SIGNS.get(word, "·"))
    kind = verdict_class(word) if word in SIGNS else "none"
    return element("span", {"class": f"verdict {kind}"}, sign, " ", shown or word)


def verdict_class(word: str) -> str:
    """CSS class for the colour of a verdict."""
    return word.replace(" ", "-")
