"""Data files to rows, each with the place it came from, so that every complaint names `file:line`.

Decided here:
- Strict. A file that can be misread is refused: the first defect ends the reading with a DataError. Only lines that
  are wholly blank are passed over; nothing else is.
- The name tells the format, together with the kind of task: `.json` is SQuAD for questions and JSON lines for others, and
  whatever has no ending of its own is CoNLL columns for tagged words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from manyheads.data.formats import conll, csv, jsonl, parquet, squad
from manyheads.data.formats.lines import bare_name, opened
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError

Reader = Callable[[Path, str], Iterator[RawRow]]
"""Rows of a file, for a task of this kind."""


@dataclass(frozen=True, slots=True)
class Files:
    """Local files that are read one after the other."""

    paths: tuple[Path, ...]

    def __str__(self) -> str:
        return ", ".join(str(path) for path in self.paths)


@dataclass(frozen=True, slots=True)
class Opened:
    """A data source ready to be read."""

    fingerprint: str
    """Changes whenever the rows or their places do."""
    rows: Callable[[], Iterator[RawRow]]


def open_files(files: Files, kind: str) -> Opened:
    """Files with the hash of their contents and names; times of change play no part. Raises DataError."""
    digest = hashlib.sha256()
    for path in files.paths:
        with opened(path) as stream:
            try:
                content = hashlib.file_digest(stream, "sha256").digest()
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror}") from None
            digest.update(f"{path}\0".encode("utf-8", "surrogateescape") + content)
    return Opened(digest.hexdigest(), lambda: (row for path in files.paths for row in read_rows(path, kind)))


def read_rows(path: Path, kind: str) -> Iterator[RawRow]:
    """Rows of a file, for a task of this kind; the format follows from the name, `.gz` of any is read.

    Raises DataError for a file that is missing, empty, of another format, not UTF-8, cut off, or has a defect.
    """
    read = _reader(path, kind)
    count = 0
    for row in read(path, kind):
        count += 1
        yield row
    if not count:
        raise DataError(f"{path} has no rows; give a file with data")


def _reader(path: Path, kind: str) -> Reader:
    """The function for this name and kind."""
    formats: dict[str, Reader] = {".jsonl": jsonl.read, ".ndjson": jsonl.read, ".parquet": parquet.read}
    formats[".json"] = squad.read if kind == "question-answering" else jsonl.read
    if kind not in ("question-answering", "token-classification"):
        formats |= {".csv": csv.read, ".tsv": csv.read}
    suffix = Path(bare_name(path)).suffix
    if suffix in formats:
        return formats[suffix]
    if kind == "token-classification" and suffix != ".csv":
        return conll.read
    columns = "CoNLL columns (.conll, .txt, .tsv, ...), " if kind == "token-classification" else ""
    raise DataError(f"{path}: {kind} data is read from {columns}{', '.join(sorted(formats))}, each also as .gz")
