"""Lines to the cells of csv and tsv: one reader for training data, rows to answer, and files that are scored.

Decided here:
- csv is strict (RFC 4180): a cell that starts with a quote ends with one before the next comma, and quotes in it are
  doubled. Anything else is refused with its line, because a quote that is never closed swallows the rows below it.
- tsv is not quoted: a quote is a character like any other, and a row is a line.
- White space around the names in a header, and around cells of columns that hold no text, does not count. Texts are
  left to the letter.
- A column without a name is left out when it is empty, or the first one (the row numbers of pandas); any other is refused.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

TEXTS = frozenset({"text", "text_pair", "text_a", "text_b", "negative", "question", "context"})
"""Columns whose cells are left to the letter."""


class CellError(ValueError):
    """What is wrong with a row; its message goes on after `file:line `."""

    def __init__(self, line: int, message: str) -> None:
        """`line`: where the row starts."""
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Cells:
    """A row and the line that it starts on."""

    line: int
    cells: list[str]


def rows_of_cells(lines: Iterable[str], *, tabs: bool, longest: int) -> Iterator[Cells]:
    """Rows that are not blank; a cell has at most `longest` characters. Raises CellError."""
    if tabs:
        for number, line in enumerate(lines, 1):
            inner = line.rstrip("\r\n")
            if "\r" in inner:
                raise CellError(number, "has a carriage return in the middle of a line; save the file with line feeds")
            if inner:
                yield Cells(number, inner.split("\t"))
        return
    csv.field_size_limit(longest)
    reader = csv.reader(lines, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CellError(start, _fault(str(error), longest)) from None
        if cells:
            yield Cells(start, cells)


def _fault(error: str, longest: int) -> str:
    if "field larger" in error:
        return (f"has a cell that is longer than {longest >> 20} MB, or a quote that is never closed; cut the text into "
                "parts, or close the quote")  # fmt: skip
    if "new-line character" in error:
        return "has a carriage return in the middle of a line; put the cell in quotes, or save the file with line feeds"
    return (f"has a cell whose quotes do not match ({error}); a cell that starts with a quote ends with one before the "
            "next comma, and quotes inside it are doubled")  # fmt: skip


class Columns:
    """The columns of a header. Raises CellError for a name that stands twice."""

    def __init__(self, header: Cells) -> None:
        """`header`: the first row of a file."""
        self.names: Sequence[str] = [cell.strip() for cell in header.cells]
        named = [place for place, name in enumerate(self.names) if name]
        self._last = named[-1] + 1 if named else 0
        """Cells that a row must have: columns without a name at the end may be left out."""
        twice = sorted(name for name, count in Counter(self.names).items() if count > 1 and name)
        if twice:
            raise CellError(header.line, f"names the column '{twice[0][:80]}' twice; rename one of them")

    @property
    def known(self) -> list[str]:
        """Names that are not empty."""
        return [name for name in self.names if name]

    def row(self, row: Cells) -> dict[str, str] | None:
        """Cells by name; None for a row of another width. Raises CellError for a cell in a column without a name."""
        if not self._last <= len(row.cells) <= len(self.names):
            return None
        values = {}
        for place, (name, cell) in enumerate(zip(self.names, row.cells, strict=False)):
            if name:
                values[name] = cell if name in TEXTS else cell.strip()
            elif place and cell.strip():
                raise CellError(row.line, f"has {cell[:40]!r} in column {place + 1}, which has no name in the header; name "
                                          "the column, or quote a cell that holds the separator")  # fmt: skip
        return values
