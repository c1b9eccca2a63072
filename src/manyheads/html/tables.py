"""Tables: a caption, headings for columns and rows, numbers to the right, and a box of their own to scroll in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.markup import Html, element, joined


@dataclass(frozen=True, slots=True)
class Column:
    """A heading (text, or markup), and whether numbers stand below it."""

    name: str
    numbers: bool = True


def words(*names: str) -> list[Column]:
    """Columns of text."""
    return [Column(name, False) for name in names]


def numbers(*names: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(name) for name in names]


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Html:
    """A table whose first column names the rows. Cells are text, or markup. A row shorter than the heading is an error."""
    head = [element("th", {"scope": "col", "class": _kind(column)}, column.name) for column in columns]
    body = [
        element(
            "tr",
            None,
            *(
                element("th", {"scope": "row", "class": _kind(column)}, cell)
                if i == 0
                else element("td", {"class": _kind(column)}, cell)
                for i, (column, cell) in enumerate(zip(columns, row, strict=True))
            ),
        )
        for row in rows
    ]
    inner = element(
        "table",
        None,
        element("caption", None, caption),
        element("thead", None, element("tr", None, *head)),
        element("tbody", None, *body),
    )
    return scrolling(caption, inner)


def scrolling(name: str, *children: str) -> Html:
    """A box that scrolls sideways by itself, also with the keyboard."""
    return element("div", {"class": "scroll", "role": "group", "tabindex": "0", "aria-label": name}, *children)


def listing(items: Sequence[tuple[str, str]]) -> Html:
    """Names and what belongs to them, one below the other."""
    pairs = (element("div", None, element("dt", None, name), element("dd", None, value)) for name, value in items)
    return element("dl", None, joined(pairs))


def _kind(column: Column) -> str | None:
    return "number" if column.numbers else None
