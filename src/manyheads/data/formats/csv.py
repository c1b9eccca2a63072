"""csv and tsv files (`text/delimited.py` has the rules). The place of a row is its first line.

The first line is a header, unless `columns` of the data source names the columns by their numbers, from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from manyheads.data.column_guess import MOST_ROWS, Sample, guess_columns, sample_of
from manyheads.data.formats.columns import TARGETS, column_names
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.lines import LONGEST_LINE_BYTES, bare_name, lines
from manyheads.data.formats.literals import guessed, literal
from manyheads.data.formats.messages import counted
from manyheads.data.formats.rows import RawRow, row_or_error
from manyheads.data.formats.spaced_words import NOTE, is_spaced, words_and_tags
from manyheads.errors import ColumnsError, DataError
from manyheads.tasks.rows import NESTED_COLUMNS
from manyheads.text.delimited import (
    LONGEST_NAME,
    OTHER_SEPARATORS,
    TEXTS,
    CellError,
    CellRow,
    Header,
    read_cells,
    reads_as_text,
    separator_name,
)

LONGEST_CELL = LONGEST_LINE_BYTES
"""Characters in a cell. The csv module's default limit of 131,072 is too low for documents."""
NUMBER = '"'
"""Quoted numbers of columns are shown as numbers."""
QUOTED = "cells begin and end with a quote, which is part of the cell because tsv has no quoting; remove it, or write csv"


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows. Raises DataError for a header that lacks columns, a row of another width, and mismatched quotes."""
    yield from _read(path, schema, tabs=bare_name(path).endswith(".tsv"))


def read_tabs(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows of cells that tabs separate, whatever the name of the file. Raises DataError as `read` does."""
    yield from _read(path, schema, tabs=True)


def _read(path: Path, schema: RowSchema, *, tabs: bool) -> Iterator[RawRow]:
    with opened_table(path, tabs=tabs) as rows:
        first = next(rows, None)
        if first is None:
            return
        numbered = _has_numbers(schema, first.cells)
        if not numbered and not schema.renames:
            _check_header(path, first, rows, schema)
        header = Header(CellRow(first.line, _numbers(first.cells)) if numbered else first)
        header.rename(_names(path, header, first, rows, schema))
        found = chain([first], rows) if numbered else rows
        beginning = list(islice(found, MOST_ROWS)) if schema.has_any("tokens") and schema.has_any("tags") else []
        spaced = is_spaced(next((cells for row in beginning if (cells := header.row(row))), {}))
        for row in chain(beginning, found):
            read = partial(_row, path, header, row, schema, tabs=tabs, spaced=spaced)
            yield row_or_error(f"{path}:{row.line}", read)


@contextmanager
def opened_table(path: Path, *, tabs: bool) -> Iterator[Iterator[CellRow]]:
    """The lines of a file as cells. Raises DataError for what is wrong with them, also while they are used."""
    try:
        yield read_cells((line for _, line in lines(path)), tabs=tabs, longest=LONGEST_CELL)
    except CellError as error:
        raise DataError(f"{path}:{error.line} {error}") from None


def numbered_columns(path: Path, *, tabs: bool) -> list[str]:
    """Numbers of the columns of a file whose first line looks like data, from 1; empty if it looks like a header.

    Raises DataError.
    """
    with opened_table(path, tabs=tabs) as rows:
        first = next(rows, None)
    return [] if first is None or not _is_data([cell.strip() for cell in first.cells]) else _numbers(first.cells)


def _numbers(cells: list[str]) -> list[str]:
    return [str(place) for place in range(1, len(cells) + 1)]


def _has_numbers(schema: RowSchema, cells: list[str]) -> bool:
    """Whether `columns` gives numbers of columns; names that the first line has are names."""
    named = set(schema.renames.values())
    if not named or not all(name.isdecimal() for name in named):
        return False
    return not named <= {cell.strip() for cell in cells} or any(len(cell) > LONGEST_NAME for cell in cells)


def cells_by_name(path: Path, header: Header, row: CellRow) -> dict[str, str]:
    """The cells of a row. Raises DataError for a row of another width than the header's."""
    found = header.row(row)
    if found is None:
        raise DataError(
            f"{path}:{row.line} has {counted(len(row.cells), 'column')}, the header has {len(header.names)} "
            f"({', '.join(header.names)[:500]}); fill the row in, or quote a cell that holds {separator_name(row.separator)}"
        )
    return found


def _row(path: Path, header: Header, row: CellRow, schema: RowSchema, *, tabs: bool, spaced: bool) -> RawRow:
    found = cells_by_name(path, header, row)
    values: dict[str, Any] = dict(found)
    if not values.get("text_pair", True):
        values["text_pair"] = None  # the only column that may be left out row by row; an empty cell has no type
    if spaced:
        values |= words_and_tags(found, f"{path}:{row.line}")
    for name in NESTED_COLUMNS.intersection(values).difference(("tokens", "tags") if spaced else ()):
        if schema.has_any(name):
            values[name] = literal(values[name], f"{path}:{row.line}", name)
    notes = (QUOTED,) if tabs and _is_quoted(found) else ()
    if not tabs and row.separator != ",":
        notes = (f"cells are separated by {separator_name(row.separator, plural=True)}, as in the header",)
    if spaced:
        notes = (*notes, NOTE)
    return RawRow(schema.normalised(values), f"{path}:{row.line}", notes=notes)


def _is_quoted(values: dict[str, str]) -> bool:
    """Whether a cell looks as if a program had quoted it."""
    return any(
        len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")
        for name, cell in values.items()
        if name in TEXTS or name in ("label", "labels")
    )


def _names(path: Path, header: Header, first: CellRow, rows: Iterator[CellRow], schema: RowSchema) -> dict[str, str]:
    """Our name of each column. Raises DataError for missing columns."""
    where = f"{path}:{first.line}"
    return column_names(schema, header.known, where, lambda: _sample(header, rows))


def _sample(header: Header, rows: Iterable[CellRow]) -> Sample:
    found = (header.row(row) or {} for row in rows)
    return sample_of({name: guessed(cell) for name, cell in cells.items()} for cells in found)


def _check_header(path: Path, first: CellRow, rows: Iterator[CellRow], schema: RowSchema) -> None:
    """Raise DataError if the first line is no header, or another mark separates its names."""
    where, known = f"{path}:{first.line}", [name for cell in first.cells if (name := cell.strip())]
    missing = schema.missing(known)
    other = next((mark for mark in (*OTHER_SEPARATORS, ",") if mark in "".join(known)), None)
    if missing and other is not None and len(known) == 1:
        name = {"\t": "tabs"}.get(other, f"'{other}'")
        raise DataError(f"{where} has one column, with cells separated by {name}; cells are separated by commas in .csv, and "
                        "by tabs in .tsv; give the name that fits, or name the format: csv, tsv")  # fmt: skip
    if missing and TARGETS not in known and _is_data(known):
        seen = " | ".join(cell if len(cell) <= 40 else cell[:40] + "…" for cell in known[:50])
        sample = _sample(Header(CellRow(first.line, _numbers(first.cells))), chain([first], rows))
        guess = guess_columns(schema.columns, sample, schema.optional)
        numbers = "" if guess is None else f", such as columns: {str(guess).replace(NUMBER, '')}"
        raise ColumnsError(f"{where} should be a header with the columns {missing}, seen {seen}; add that line, or give the "
                           f"numbers of the columns{numbers}")  # fmt: skip


def _is_data(names: list[str]) -> bool:
    """Whether the first line holds cells: texts or numbers."""
    return any(reads_as_text(name) or name.lstrip("+-").replace(".", "", 1).isdecimal() for name in names if name)
