"""Rows to be answered, as users send them: jsonl, csv or parquet, a file or standard input.

Unlike training data, one bad row must not stop the others: it comes out as a RowError in its place. Rows are read one at
a time, so a file of a million rows needs no more memory than one of ten. A row that could not be written as JSON again
(its `id` is in the answer) is a bad one. What is wrong with a file as a whole (a bomb, a cut-off archive) ends the reading.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from manyheads.data.formats.lines import is_packed, lines, opened, unpacked
from manyheads.data.formats.parquet import ParquetRows
from manyheads.data.strict_json import read_json
from manyheads.errors import DataError, RowError

Requested = dict[str, Any] | RowError

LONGEST_ROW_BYTES = 4 << 20
"""War and Peace has 3.2 MB. The tokens of a text and their answers take 200 bytes for each of its characters."""
MOST_LEVELS = 50
"""Of lists and objects in one another, in a row."""


def read_requests(source: Path | IO[bytes]) -> Iterator[Requested]:
    """Rows of a file by its ending (`.jsonl`, `.csv`, `.tsv`, `.parquet`, each also `.gz`), or jsonl of a byte stream.

    Raises DataError at once for a file that is not there or of another format.
    """
    if not isinstance(source, Path):
        return _json_lines(source)
    if source.is_dir():
        raise DataError(f"{source} is a folder; give a jsonl, csv or parquet file")
    opened(source).close()
    ending = Path(source.name.removesuffix(".gz")).suffix.lower()
    if ending == ".parquet":
        return _parquet(source)
    if ending in (".jsonl", ".ndjson", ".json"):
        return _file_lines(source)
    if ending in (".csv", ".tsv"):
        return _csv(source, "\t" if ending == ".tsv" else ",")
    raise DataError(f"{source}: the ending '{ending}' is not known; rows come as .jsonl, .csv, .tsv or .parquet")


def _file_lines(path: Path) -> Iterator[Requested]:
    stored = opened(path)  # here, not in the generator: a file that is not there is told of at once

    def rows() -> Iterator[Requested]:
        with stored:
            try:
                yield from _json_lines(unpacked(path, stored) if is_packed(path) else stored)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise DataError(f"{path} is a damaged or cut-off gzip file ({error}); copy it again") from None

    return rows()


def _json_lines(stream: IO[bytes]) -> Iterator[Requested]:
    with stream:
        for number, line in enumerate(_lines(stream), start=1):
            if line is None:
                yield RowError(f"line {number} is longer than {LONGEST_ROW_BYTES >> 20} MB; cut its text into parts")
            elif line.strip():
                yield _json_row(line, number)


def _lines(stream: IO[bytes]) -> Iterator[bytes | None]:
    """Lines; None for one that is too long, which is passed over."""
    while line := stream.readline(LONGEST_ROW_BYTES + 1):
        if len(line) <= LONGEST_ROW_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_ROW_BYTES)
        yield None


def _json_row(line: bytes, number: int) -> Requested:
    try:
        row = read_json(line, MOST_LEVELS)
    except ValueError as error:
        return RowError(f"line {number} {error}")
    if not isinstance(row, dict):
        return RowError(f'line {number} must be an object such as {{"text": "..."}}, seen {type(row).__name__}')
    if b"\\ud" in line or b"\\uD" in line:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return RowError(f"line {number} holds half of a surrogate pair, which is no character; mend the text")
    return row


def _csv(path: Path, delimiter: str) -> Iterator[Requested]:
    csv.field_size_limit(LONGEST_ROW_BYTES)
    reader = csv.DictReader((line for _, line in lines(path, LONGEST_ROW_BYTES)), delimiter=delimiter)
    try:
        names = list(reader.fieldnames or [])
        if not {"text", "tokens"} & set(names):
            seen = ", ".join(names)[:200] or "nothing"
            raise DataError(f"{path}:1: the header needs a 'text' column; it has {seen}")
        for row in reader:
            if None in row or None in row.values():
                yield RowError(f"line {reader.line_num} has not as many columns as the header")
            else:
                yield {key: value for key, value in row.items() if value != "" or key == "text"}
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num + 1}: a cell cannot be read ({error}); cut texts of more than "
                        f"{LONGEST_ROW_BYTES >> 20} MB into parts, and close its quotes") from None  # fmt: skip


def _parquet(path: Path) -> Iterator[Requested]:
    with ParquetRows(path) as rows:
        if not {"text", "tokens"} & set(rows.names):
            raise DataError(f"{path}: needs a 'text' column; it has {', '.join(rows.names)[:200]}")
        for row in rows:
            if any(isinstance(value, str) and len(value) > LONGEST_ROW_BYTES for value in row.values()):
                yield RowError(f"a text is longer than {LONGEST_ROW_BYTES >> 20} MB; cut it into parts")
            else:
                yield {key: value for key, value in row.items() if value is not None}
