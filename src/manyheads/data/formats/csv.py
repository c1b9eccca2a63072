"""csv and tsv files with a header (`text/separated.py` has the rules). The place of a row is the line it starts on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import Wanted
from manyheads.data.formats.lines import LONGEST_LINE_BYTES, bare_name, lines
from manyheads.data.formats.rows import RawRow, counted
from manyheads.errors import DataError
from manyheads.text.separated import TEXTS, CellError, Cells, Columns, rows_of_cells

LONGEST_CELL = LONGEST_LINE_BYTES
"""Characters in a cell; the csv module refuses more than 131,072 unless told, and documents are longer."""
QUOTED = "cells begin and end with a quote, which is part of the cell, for tsv is not quoted; remove it, or write csv"


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Rows. Raises DataError for a header that lacks columns, a row of another width, and quotes that do not match."""
    tab = bare_name(path).endswith(".tsv")
    rows = rows_of_cells((line for _, line in lines(path)), tabs=tab, longest=LONGEST_CELL)
    try:
        header = next(rows, None)
        if header is None:
            return
        columns = Columns(header)
        _check_header(columns, f"{path}:{header.line}", wanted)
        for row in rows:
            yield _row(path, columns, row, tab=tab)
    except CellError as error:
        raise DataError(f"{path}:{error.line} {error}") from None


def _row(path: Path, columns: Columns, row: Cells, *, tab: bool) -> RawRow:
    found = columns.row(row)
    if found is None:
        raise DataError(
            f"{path}:{row.line} has {counted(len(row.cells))}, the header has {len(columns.names)} "
            f"({', '.join(columns.names)[:500]}); fill the row in, or quote a cell that holds a {'tab' if tab else 'comma'}"
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


def _check_header(columns: Columns, where: str, wanted: Wanted) -> None:
    lacking = wanted.lacking(columns.known)
    if lacking:
        seen = " | ".join(cell if len(cell) <= 40 else cell[:40] + "…" for cell in columns.names[:50])
        raise DataError(
            f"{where} should be a header with the columns {lacking}, seen {seen}; add that line, or rename columns"
        )
