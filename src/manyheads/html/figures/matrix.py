"""Heat map: a table with shaded cells, which stays readable without colours.

Decided here: shades are discrete, so that the contrast of the numbers on them is known in light and dark mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from manyheads.html.markup import Html, element, user_text
from manyheads.html.numbers import Number, is_number
from manyheads.html.tables import scrolling

SHADES = 6
"""Shades of one colour, besides none."""
MAX_HORIZONTAL = 6
"""With more columns, their names are vertical."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Numbers by row and column."""

    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[Number]]
    corner: str
    """Meaning of rows and columns: `gold \\ predicted`."""


def sequential_matrix(matrix: Matrix, description: str, shown: Callable[[Number], str], *, diagonal: bool = False) -> Html:
    """Heat map with one colour, relative to the largest number of each row; `diagonal`: frame the diagonal."""

    def shade(row: int, column: int) -> str:
        value, most = matrix.cells[row][column], max((v for v in matrix.cells[row] if is_number(v)), default=0.0)
        step = round(SHADES * value / most) if is_number(value) and most > 0 else 0
        return f"q{step if step or not value else 1}{' diagonal' if diagonal and row == column else ''}"

    return _heat_map(matrix, description, shown, shade)


def diverging_matrix(
    matrix: Matrix,
    description: str,
    shown: Callable[[Number], str],
    *,
    largest: float,
    measure: Callable[[float], float] = float,
) -> Html:
    """Heat map with two colours, for negative and positive values of `measure`; `largest` has the deepest shade."""

    def shade(row: int, column: int) -> str:
        value = matrix.cells[row][column]
        if not is_number(value):
            return "none"
        measured = measure(value)
        step = min(SHADES, round(SHADES * abs(measured) / largest)) if largest else 0
        return f"{'n' if measured < 0 else 'p'}{step}" if step else "q0"

    return _heat_map(matrix, description, shown, shade)


def _heat_map(
    matrix: Matrix, description: str, shown: Callable[[Number], str], shade: Callable[[int, int], str]
) -> Html:
    upright = len(matrix.columns) > MAX_HORIZONTAL
    column = {"scope": "col", "class": "upright" if upright else "column"}
    head = [element("th", column, user_text(name)) for name in matrix.columns]
    body = []
    for i, name in enumerate(matrix.rows):
        cells = [element("td", {"class": shade(i, k)}, shown(value)) for k, value in enumerate(matrix.cells[i])]
        body.append(element("tr", None, element("th", {"scope": "row"}, user_text(name)), *cells))
    corner = element("td", {"class": "corner"}, matrix.corner)
    table = element(
        "table",
        {"class": "heat dense" if upright else "heat"},
        element("caption", {"class": "unseen"}, description),
        element("thead", None, element("tr", None, corner, *head)),
        element("tbody", None, *body),
    )
    return scrolling(description, table)
