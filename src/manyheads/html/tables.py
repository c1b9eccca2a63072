"""Tables with a caption, column and row headings, right-aligned numbers and their own scroll box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.html.markup import Html, element, joined


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading (text or markup), and whether its cells are numbers."""

    name: str
    numbers: bool = True


def words(*names: str) -> list[Column]:
    """Text columns."""
    return [Column(name, False) for name in names]


def numbers(*names: str) -> list[Column]:
    """Number columns."""
    return [Column(name) for name in names]


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Html:
    """A table whose first column names the rows. Cells are text or markup; every row needs a cell for each column."""
    head = [element("th", {"scope": "col", "class": _kind(column)}, column.name) for column in columns]
    body = []
    for row in rows:
        name, *cells = zip(columns, row, strict=True)
        first = element("th", {"scope": "row", "class": _kind(name[0])}, name[1])
        rest = (element("td", {"class": _kind(column)}, cell) for column, cell in cells)
        body.append(element("tr", None, first, *rest))
    inner = element(
        "table",
        None,
        element("caption", None, caption),
        element("thead", None, element("tr", None, *head)),
        element("tbody", None, *body),
    )
    return scrolling(caption, inner)


def scrolling(name: str, *children: str) -> Html:
    """A box that scrolls sideways, also by keyboard."""
    return element("div", {"class": "scroll", "role": "group", "tabindex": "0", "aria-label": name}, *children)


def listing(items: Sequence[tuple[str, str]]) -> Html:
    """A list of names with their values."""
    pairs = (element("div", None, element("dt", None, name), element("dd", None, value)) for name, value in items)
    return element("dl", None, joined(pairs))


def _kind(column: Column) -> str | None:
    return "number" if column.numbers else None
