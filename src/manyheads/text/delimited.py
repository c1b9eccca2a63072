"""The cells of csv and tsv: one reader for training data, rows to answer, and answer files to score.

Design:
- csv is strict (RFC 4180): a cell that starts with a quote ends with one before the next comma, and quotes in it are
  doubled. Anything else is refused with its line, because an unclosed quote swallows the rows after it.
- csv is separated by commas, or, where the header has no comma, by the one of semicolon, tab and bar that it has: a German or
  French Excel writes semicolons.
- tsv has no quoting: a quote is a character like any other, and a row is a line.
- White space is stripped from the names in a header, and from cells of columns other than texts. Texts are unchanged.
- A column without a name is ignored if it is empty, or the first one (the row numbers of pandas); any other is refused.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

TEXTS = frozenset({"text", "text_pair", "text_a", "text_b", "negative", "question", "context"})
"""Columns whose cells are unchanged."""
OTHER_SEPARATORS = (";", "\t", "|")
"""Of csv files without commas in the header."""
_EXCEL = re.compile(r"sep=([;,|\t])", re.IGNORECASE)
"""A first line by which Excel tells the separator."""
SENTENCE_ENDS = (".", "!")
LONGEST_NAME = 40
"""Characters in the name of a column; a longer one is a text, in a file without a header."""


class CellError(ValueError):
    """An error in a row; its message follows `file:line `."""

    def __init__(self, line: int, message: str) -> None:
        """`line`: where the row starts."""
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class CellRow:
    """A row and its first line."""

    line: int
    cells: list[str]
    separator: str = ","


def read_cells(lines: Iterable[str], *, tabs: bool, longest: int) -> Iterator[CellRow]:
    """Rows that are not blank; a cell has at most `longest` characters. Raises CellError.

    >>> [row.cells for row in read_cells(['text,label\\n', '"Good, cheap.",A\\n'], tabs=False, longest=100)]
    [['text', 'label'], ['Good, cheap.', 'A']]
    """
    if tabs:
        for number, line in enumerate(lines, 1):
            inner = line.rstrip("\r\n")
            if "\r" in inner:
                raise CellError(number, "has a carriage return in the middle of a line; save the file with line feeds")
            if inner:
                yield CellRow(number, inner.split("\t"), "\t")
        return
    csv.field_size_limit(longest)
    lines = iter(lines)
    before = list(_until_header(lines))
    if before and (told := _EXCEL.fullmatch(before[-1].rstrip("\r\n"))):
        before[-1:] = ["\n", *_until_header(lines)]
    separator = told[1] if before and told else _separator(before[-1]) if before else ","
    reader = csv.reader(chain(before, lines), strict=True, delimiter=separator)
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CellError(start, _fault(str(error), longest, separator)) from None
        if cells:
            yield CellRow(start, cells, separator)


def _until_header(lines: Iterator[str]) -> Iterator[str]:
    """The blank lines at the beginning, and the line after them."""
    for line in lines:
        yield line
        if line.strip():
            return


def _separator(header: str) -> str:
    """A comma, unless the line has none, and names that one other mark separates."""
    found = [mark for mark in OTHER_SEPARATORS if mark in header]
    if "," in header or len(found) != 1:
        return ","
    names = [name.strip().strip('"') for name in header.rstrip("\r\n").split(found[0])]
    return "," if any(map(reads_as_text, names)) else found[0]


def reads_as_text(name: str) -> bool:
    """Whether a cell of the first line is a text, so that the line is no header."""
    return len(name) > LONGEST_NAME or name.endswith(SENTENCE_ENDS)


def separator_name(separator: str, *, plural: bool = False) -> str:
    """For messages: a comma, commas."""
    name = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}[separator]
    return f"{name}s" if plural else f"a {name}"


def _fault(error: str, longest: int, separator: str) -> str:
    if "field larger" in error:
        return (f"has a cell that is longer than {longest >> 20} MB, or a quote that is never closed; cut the text into "
                "parts, or close the quote")  # fmt: skip
    if "new-line character" in error:
        return "has a carriage return in the middle of a line; put the cell in quotes, or save the file with line feeds"
    return (f"has a cell whose quotes do not match ({error}); a cell that starts with a quote ends with one before the "
            f"next {separator_name(separator)[2:]}, and quotes inside it are doubled")  # fmt: skip


class Header:
    """The columns of a file. Raises CellError for a duplicate name."""

    def __init__(self, header: CellRow) -> None:
        """`header`: the first row of the file."""
        self.names: Sequence[str] = [cell.strip() for cell in header.cells]
        named = [place for place, name in enumerate(self.names) if name]
        self._ours: Mapping[str, str] | None = None
        self._last = named[-1] + 1 if named else 0
        """Cells that a row must have: unnamed columns at the end are optional."""
        twice = sorted(name for name, count in Counter(self.names).items() if count > 1 and name)
        if twice:
            raise CellError(header.line, f"names the column '{twice[0][:80]}' twice; rename one of them")

    def rename(self, names: Mapping[str, str]) -> None:
        """Give the columns new names (new: in the file); rows have no others."""
        self._ours = {theirs: ours for ours, theirs in names.items()}

    @property
    def known(self) -> list[str]:
        """Names that are not empty."""
        return [name for name in self.names if name]

    def row(self, row: CellRow) -> dict[str, str] | None:
        """Cells by name; None for a row of another width. Raises CellError for a cell in a column without a name."""
        if not self._last <= len(row.cells) <= len(self.names):
            return None
        values = {}
        for place, (name, cell) in enumerate(zip(self.names, row.cells, strict=False)):
            if name:
                key = name if self._ours is None else self._ours.get(name)
                if key is not None:
                    values[key] = cell if key in TEXTS else cell.strip()
            elif place and cell.strip():
                raise CellError(row.line, f"has {cell[:40]!r} in column {place + 1}, which has no name in the header; name "
                                          "the column, or quote a cell that holds the separator")  # fmt: skip
        return values
