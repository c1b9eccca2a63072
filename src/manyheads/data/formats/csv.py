"""csv and tsv files with a header (`text/delimited.py` has the rules). The place of a row is its first line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.lines import LONGEST_LINE_BYTES, bare_name, lines
from manyheads.data.formats.messages import counted
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError
from manyheads.text.delimited import TEXTS, CellError, CellRow, Header, read_cells

LONGEST_CELL = LONGEST_LINE_BYTES
"""Characters in a cell. The csv module's default limit of 131,072 is too low for documents."""
QUOTED = "cells begin and end with a quote, which is part of the cell because tsv has no quoting; remove it, or write csv"


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows. Raises DataError for a header that lacks columns, a row of another width, and mismatched quotes."""
    tab = bare_name(path).endswith(".tsv")
    rows = read_cells((line for _, line in lines(path)), tabs=tab, longest=LONGEST_CELL)
    try:
        first = next(rows, None)
        if first is None:
            return
        header = Header(first)
        _check_header(header, f"{path}:{first.line}", schema)
        for row in rows:
            yield _row(path, header, row, tab=tab)
    except CellError as error:
        raise DataError(f"{path}:{error.line} {error}") from None


def _row(path: Path, header: Header, row: CellRow, *, tab: bool) -> RawRow:
    found = header.row(row)
    if found is None:
        raise DataError(
            f"{path}:{row.line} has {counted(len(row.cells), 'column')}, the header has {len(header.names)} "
            f"({', '.join(header.names)[:500]}); fill the row in, or quote a cell that holds a {'tab' if tab else 'comma'}"
        )
    values: dict[str, Any] = dict(found)
    if not values.get("text_pair", True):
        values["text_pair"] = None  # the only column that may be left out row by row; an empty cell has no type
    return RawRow(values, f"{path}:{row.line}", notes=(QUOTED,) if tab and _is_quoted(found) else ())


def _is_quoted(values: dict[str, str]) -> bool:
    """Whether a cell looks as if a program had quoted it."""
    return any(
        len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")
        for name, cell in values.items()
        if name in TEXTS or name in ("label", "labels")
    )


def _check_header(header: Header, where: str, schema: RowSchema) -> None:
    if missing := schema.missing(header.known):
        seen = " | ".join(cell if len(cell) <= 40 else cell[:40] + "…" for cell in header.names[:50])
        raise DataError(
            f"{where} should be a header with the columns {missing}, seen {seen}; add that line, or rename columns"
        )
