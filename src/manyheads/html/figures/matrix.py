"""Heat map: a table of numbers whose cells are shaded by them, so that the figure reads without its colours too.

Decided here: shades come in steps, whose contrast to the numbers in them is known in light and dark, not from a continuum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from manyheads.html.markup import Html, element, said
from manyheads.html.numbers import Number, known
from manyheads.html.tables import scrolling

STEPS = 6
"""Shades of one colour; the first is none."""
MANY = 6
"""Columns from which on their names stand upright."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Numbers by row and column."""

    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[Number]]
    corner: str
    """What rows and columns are: `gold \\ answered`."""


def amounts(matrix: Matrix, description: str, shown: Callable[[Number], str], *, diagonal: bool = False) -> Html:
    """Shaded by the share of the largest number of its row; `diagonal`: what lies there is framed."""

    def shade(row: int, column: int) -> str:
        value, most = matrix.cells[row][column], max((v for v in matrix.cells[row] if known(v)), default=0.0)
        step = round(STEPS * value / most) if known(value) and most > 0 else 0
        return f"q{step if step or not value else 1}{' diagonal' if diagonal and row == column else ''}"

    return _drawn(matrix, description, shown, shade)


def opposites(
    matrix: Matrix,
    description: str,
    shown: Callable[[Number], str],
    *,
    largest: float,
    measure: Callable[[float], float] = float,
) -> Html:
    """Shaded in two colours by a measure of the numbers, negative or positive; `largest` of it has the deepest shade."""

    def shade(row: int, column: int) -> str:
        value = matrix.cells[row][column]
        if not known(value):
            return "none"
        measured = measure(value)
        step = min(STEPS, round(STEPS * abs(measured) / largest)) if largest else 0
        return f"{'n' if measured < 0 else 'p'}{step}" if step else "q0"

    return _drawn(matrix, description, shown, shade)


def _drawn(matrix: Matrix, description: str, shown: Callable[[Number], str], shade: Callable[[int, int], str]) -> Html:
    upright = len(matrix.columns) > MANY
    head = [
        element("th", {"scope": "col", "class": "upright" if upright else "column"}, said(name))
        for name in matrix.columns
    ]
    body = [
        element(
            "tr",
            None,
            element("th", {"scope": "row"}, said(name)),
            *(element("td", {"class": shade(i, k)}, shown(value)) for k, value in enumerate(matrix.cells[i])),
        )
        for i, name in enumerate(matrix.rows)
    ]
    return scrolling(
        description,
        element(
            "table",
            {"class": "heat dense" if upright else "heat"},
            element("caption", {"class": "unseen"}, description),
            element("thead", None, element("tr", None, element("td", {"class": "corner"}, matrix.corner), *head)),
            element("tbody", None, *body),
        ),
    )
