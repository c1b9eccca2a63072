"""Rows to be answered, as users send them: jsonl, csv or parquet, a file or standard input.

Unlike training data, one bad row must not stop the others: it comes out as a RowError in its place. Rows are read one at
a time, so a file of a million rows needs no more memory than one of ten.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from manyheads.errors import DataError, RowError

Requested = dict[str, Any] | RowError


def read_requests(source: Path | IO[bytes]) -> Iterator[Requested]:
    """Rows of a file by its ending (`.jsonl`, `.csv`, `.tsv`, `.parquet`, each also `.gz`), or jsonl of a byte stream.

    Raises DataError at once for a file that is not there or of another format.
    """
    if not isinstance(source, Path):
        return _json_lines(source)
    if not source.exists():
        raise DataError(f"{source}: there is no such file")
    if source.is_dir():
        raise DataError(f"{source} is a folder; give a jsonl, csv or parquet file")
    ending = Path(source.name.removesuffix(".gz")).suffix.lower()
    if ending == ".parquet":
        return _parquet(source)
    if ending in (".jsonl", ".ndjson", ".json"):
        return _json_lines(_opened(source))
    if ending in (".csv", ".tsv"):
        return _csv(source, "\t" if ending == ".tsv" else ",")
    raise DataError(f"{source}: the ending '{ending}' is not known; rows come as .jsonl, .csv, .tsv or .parquet")


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _json_lines(stream: IO[bytes]) -> Iterator[Requested]:
    with stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield _json_row(line, number)


def _json_row(line: bytes, number: int) -> Requested:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return RowError(f"line {number} is not UTF-8 (byte {error.start + 1})")
    except (ValueError, RecursionError) as error:
        return RowError(f"line {number} is not JSON: {error}")
    if not isinstance(row, dict):
        return RowError(f'line {number} must be an object such as {{"text": "..."}}, seen {type(row).__name__}')
    return row


def _csv(path: Path, delimiter: str) -> Iterator[Requested]:
    csv.field_size_limit(2**31 - 1)
    with _opened(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, delimiter=delimiter)
        if not reader.fieldnames or not {"text", "tokens"} & set(reader.fieldnames):
            seen = ", ".join(reader.fieldnames or []) or "nothing"
            raise DataError(f"{path}:1: the header needs a 'text' column; it has {seen}")
        try:
            for row in reader:
                if None in row or None in row.values():
                    yield RowError(f"line {reader.line_num} has not as many columns as the header")
                else:
                    yield {key: value for key, value in row.items() if value != "" or key == "text"}
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{reader.line_num + 1}: not UTF-8 ({error.reason}); save the file as UTF-8"
            ) from None


def _parquet(path: Path) -> Iterator[Requested]:
    import pyarrow as pa
    from pyarrow import parquet

    with _opened(path) as stream:
        try:
            file = parquet.ParquetFile(stream)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: not a parquet file ({error})") from None
        if not {"text", "tokens"} & set(file.schema_arrow.names):
            raise DataError(f"{path}: needs a 'text' column; it has {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(batch_size=1024):
            yield from ({key: value for key, value in row.items() if value is not None} for row in batch.to_pylist())
