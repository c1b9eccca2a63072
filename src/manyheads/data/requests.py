"""Rows to answer, as users send them: jsonl, csv, parquet or plain texts, from a file or standard input.

Unlike in training data, a bad row does not stop the others: a RowError takes its place. Rows are read one at a time, so a
file of a million rows needs no more memory than one of ten. A row that could not be written as JSON again (its `id` is in
the answer) is bad; times and decimals of Parquet become strings. Errors of the file as a whole (a bomb, a truncated archive)
end the reading.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from manyheads.data.formats import json_object
from manyheads.data.formats.json_items import items_of
from manyheads.data.formats.lines import byte_stream, lines, opened
from manyheads.data.formats.messages import counted
from manyheads.data.formats.parquet import ParquetRows
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.squad import whole_json
from manyheads.data.strict_json import read_json
from manyheads.data.text_lines import SniffedStream, text_rows
from manyheads.errors import DataError, RowError
from manyheads.text.delimited import TEXTS, CellError, CellRow, Header, read_cells

Requested = dict[str, Any] | RowError
Lines = IO[bytes] | SniffedStream
Renames = Sequence[tuple[str, str]]
"""Our column and that of the rows. Rows without that column, or with ours, stay as they are."""

LONGEST_ROW_BYTES = 4 << 20
"""War and Peace has 3.2 MB. The tokens of a text and their answers take 200 bytes for each of its characters."""
MOST_LEVELS = 50
"""Nested lists and objects in a row."""
STRANGE = "surrogateescape"
"""Bytes that are not UTF-8 become halves of surrogate pairs, which valid UTF-8 never has, so that their row is known."""


def read_requests(source: Path | IO[bytes] | SniffedStream, renames: Renames = ()) -> Iterator[Requested]:
    """Rows of a file by its ending (`.jsonl`, `.json`, `.csv`, `.tsv`, `.parquet`, `.txt`, also `.gz`), or of a byte stream.

    A stream holds JSON lines or plain texts, recognised by its first line; a `.json` file JSON lines, or one array or object.
    Raises DataError at once for a file that is missing or of another format.
    """
    rows = _rows_of(source, renames)
    return (row if isinstance(row, RowError) else with_our_names(row, renames) for row in rows) if renames else rows


def with_our_names(row: dict[str, Any], renames: Renames) -> dict[str, Any]:
    """A row with our names of its columns, in its order.

    >>> with_our_names({"id": 7, "body": "Great."}, [("text", "message"), ("text", "body")])
    {'id': 7, 'text': 'Great.'}
    """
    ours = dict(zip(row, _our_names(list(row), renames), strict=True))
    return {ours[name]: value for name, value in row.items()}


def _our_names(names: Sequence[str], renames: Renames) -> list[str]:
    found = list(names)
    for ours, theirs in renames:
        if ours not in found and theirs in found:
            found[found.index(theirs)] = ours
    return found


def _rows_of(source: Path | IO[bytes] | SniffedStream, renames: Renames) -> Iterator[Requested]:
    if not isinstance(source, Path):
        return _stream(source if isinstance(source, SniffedStream) else SniffedStream(source))
    if source.is_dir():
        raise DataError(f"{source} is a folder; give a jsonl, csv or parquet file")
    opened(source).close()
    ending = Path(source.name.removesuffix(".gz")).suffix.lower()
    if ending == ".parquet":
        return _parquet(source, renames)
    if ending == ".json":
        return _json(source)
    if ending in (".jsonl", ".ndjson"):
        return _file_lines(source)
    if ending in (".csv", ".tsv"):
        return _csv(source, renames, tabs=ending == ".tsv")
    if ending == ".txt":
        return _file_lines(source, lambda stream: _only_texts(stream, source))
    raise DataError(f"{source}: unknown ending '{ending}'; rows are read from .jsonl, .csv, .tsv, .parquet or .txt")


def _stream(stream: SniffedStream) -> Iterator[Requested]:
    yield from _texts(stream) if stream.plain else _json_lines(stream)


def _texts(stream: Lines) -> Iterator[Requested]:
    with stream:
        yield from text_rows(_lines(stream), LONGEST_ROW_BYTES)


def _only_texts(stream: IO[bytes], path: Path) -> Iterator[Requested]:
    sniffed = SniffedStream(stream, str(path))
    if sniffed.plain:
        yield from _texts(sniffed)
    elif any(line is not None and line.strip() for line in _lines(sniffed)):
        raise DataError(f"{path} holds JSON, and its lines would be answered as texts; rename it to end in .jsonl")


def _file_lines(path: Path, rows: Callable[[IO[bytes]], Iterator[Requested]] | None = None) -> Iterator[Requested]:
    with byte_stream(path) as stream:
        yield from (rows or _json_lines)(stream)


def _json(path: Path) -> Iterator[Requested]:
    preview = Preview.of(path)
    if preview.json.array:
        return _json_array(path)
    return _json_object(path) if json_object.looks_like(preview) else _file_lines(path)


def _json_array(path: Path) -> Iterator[Requested]:
    """Rows of one array. Raises DataError if the array itself is broken, because no item after that can be found."""
    with byte_stream(path) as stream:
        for item in items_of(stream, str(path), LONGEST_ROW_BYTES):
            where = f"item {item.number}" if item.line is None else f"line {item.line}"
            yield _json_row(item.text.encode("utf-8", "surrogatepass"), where)


def _json_object(path: Path) -> Iterator[Requested]:
    """Rows of one object. Raises DataError."""
    for number, row in enumerate(json_object.rows_of(whole_json(path), str(path)), 1):
        yield _json_row(json.dumps(row).encode(), f"item {number}")


def _json_lines(stream: Lines) -> Iterator[Requested]:
    with stream:
        for number, line in enumerate(_lines(stream), start=1):
            if line is None:
                yield RowError(f"line {number} is longer than {LONGEST_ROW_BYTES >> 20} MB; cut its text into parts")
            elif line.strip():
                yield _json_row(line, f"line {number}")


def _lines(stream: Lines) -> Iterator[bytes | None]:
    """Lines; None in place of one that is too long."""
    while line := stream.readline(LONGEST_ROW_BYTES + 1):
        if len(line) <= LONGEST_ROW_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_ROW_BYTES)
        yield None


def _json_row(line: bytes, where: str) -> Requested:
    try:
        row = read_json(line, MOST_LEVELS)
    except ValueError as error:
        return RowError(f"{where} {error}")
    if not isinstance(row, dict):
        return RowError(f'{where} must be an object such as {{"text": "..."}}, seen {type(row).__name__}')
    if (b"\\ud" in line or b"\\uD" in line) and not _is_whole(json.dumps(row, ensure_ascii=False)):
        return RowError(f"{where} contains half of a surrogate pair, which is not a character; fix the text", _id_of(row))
    return row


def _csv(path: Path, renames: Renames, *, tabs: bool) -> Iterator[Requested]:
    decoded = (line for _, line in lines(path, LONGEST_ROW_BYTES, STRANGE))
    rows = read_cells(decoded, tabs=tabs, longest=LONGEST_ROW_BYTES)
    try:
        first = next(rows, CellRow(1, []))
        header = Header(first)
        _check_columns(_our_names(header.known, renames), f"{path}:{first.line}: the header")
        texts = {"text", *(theirs for ours, theirs in renames if ours == "text")}
        for row in rows:
            yield _csv_row(header, row, texts)
    except CellError as error:
        raise DataError(f"{path}:{error.line} {error}") from None


def _csv_row(header: Header, row: CellRow, texts: Container[str]) -> Requested:
    values, number = header.row(row), row.line
    if values is None:
        names, cells = header.names, row.cells
        # Missing cells are at the end of a row; an extra one comes from a comma in a text.
        sure = takewhile(lambda pair: len(cells) < len(names) or pair[0] not in TEXTS, zip(names, cells, strict=False))
        return RowError(
            f"line {number} has {counted(len(cells), 'column')}, but the header has {len(names)}",
            _id_of({name: cell.strip() for name, cell in sure}),
        )
    given = {name: cell for name, cell in values.items() if cell != "" or name in texts}
    strange = [name for name, cell in given.items() if not _is_whole(cell)]
    if strange:
        return RowError(f"line {number} is not UTF-8 (column '{strange[0][:80]}')", _id_of(given))
    return given


def _parquet(path: Path, renames: Renames) -> Iterator[Requested]:
    with ParquetRows(path) as rows:
        _check_columns(_our_names(rows.names, renames), f"{path}:")
        for number, row in enumerate(rows, start=1):
            yield _parquet_row({key: value for key, value in row.items() if value is not None}, number)


def _parquet_row(row: dict[str, Any], number: int) -> Requested:
    try:
        known = {"id": as_json(row["id"])} if "id" in row else {}
    except ValueError as error:
        return RowError(f"row {number} has an 'id' that {error}; make it a string or a whole number")
    if any(isinstance(value, str) and len(value) > LONGEST_ROW_BYTES for value in row.values()):
        return RowError(
            f"row {number} has a text longer than {LONGEST_ROW_BYTES >> 20} MB; cut it into parts", _id_of(known)
        )
    return row | known


def _check_columns(names: Sequence[str], where: str) -> None:
    """Raise DataError for columns without text, or two of the same name (`Header` checks that of a csv)."""
    if not {"text", "tokens", "sentences"} & set(names):
        raise DataError(f"{where} needs a 'text' column; it has {', '.join(names)[:200] or 'nothing'}")
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and name)
    if twice:
        raise DataError(f"{where} names the column '{twice[0][:80]}' twice; rename one of them")


def as_json(value: Any) -> Any:
    """A value of a Parquet file as a JSON value. Raises ValueError, with a message to follow "that", if JSON has none.

    >>> as_json({"day": date(2024, 5, 1), "price": Decimal("1.50")})
    {'day': '2024-05-01', 'price': '1.50'}
    """
    if isinstance(value, date | time):  # datetimes are dates
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"is {value}, which is not a number")
    if not isinstance(value, str | int | float | None):
        raise ValueError(f"is of the type {type(value).__name__}, which JSON does not have")
    return value


def _id_of(row: Mapping[str, Any]) -> Any:
    """The id of a bad row; None if the id may be bad too."""
    found = row.get("id")
    if isinstance(found, str):
        return found if found and _is_whole(found) else None
    return found if isinstance(found, int | float) else None


def _is_whole(text: str) -> bool:
    """Whether a text can be written as UTF-8, which halves of surrogate pairs (see STRANGE) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
