"""Data files to rows, each with the place it came from, so that every complaint names `file:line`.

Decided here:
- Strict. A file that can be misread is refused: the first defect ends the reading with a DataError. Only lines that
  are wholly blank are passed over; nothing else is.
- What is in a file tells its format (`formats/known.py`), or the data source does. Where neither does, the name tells it,
  together with the columns that are wanted: `.json` is SQuAD for questions and JSON lines for others, and whatever has no
  ending of its own is CoNLL columns for tagged words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.known import format_called, format_like, format_named
from manyheads.data.formats.lines import bare_name, opened
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError
from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Files:
    """Local files that are read one after the other."""

    paths: tuple[Path, ...]
    format: str | None = None
    """By name; None: what each file looks like."""
    names: tuple[str, ...] = ()
    """Of the classes that files have as numbers, in their order."""

    def __str__(self) -> str:
        return ", ".join(str(path) for path in self.paths)


@dataclass(frozen=True, slots=True)
class Opened:
    """A data source ready to be read."""

    fingerprint: str
    """Changes whenever the rows or their places do."""
    rows: Callable[[], Iterator[RawRow]]
    formats: tuple[str, ...] = ()
    """As a report says them."""


def open_files(files: Files, task: type[Task[Any]], split: str = "train") -> Opened:
    """Files with the hash of their contents and names; times of change play no part. Raises DataError."""
    wanted = Wanted.by(task, files.names, split)
    digest = hashlib.sha256()
    titles: dict[str, None] = {}
    read: list[tuple[Path, Format]] = []
    for path in files.paths:
        form = format_of(path, wanted, files.format)
        titles[form.title] = None
        read.append((path, form))
        digest.update(f"{form.name}\0{files.names}\0".encode("utf-8", "surrogateescape"))
        for part in form.files(path):
            digest.update(f"{part}\0".encode("utf-8", "surrogateescape") + _hash(part))
    return Opened(
        digest.hexdigest(), lambda: (row for path, form in read for row in _rows(path, form, wanted)), tuple(titles)
    )


def read_rows(path: Path, task: type[Task[Any]], form: str | None = None) -> Iterator[RawRow]:
    """Rows of a file, for tasks of this type; `.gz` of any format is read. `form` is its format by name.

    Raises DataError for a file that is missing, empty, of another format, not UTF-8, cut off, or has a defect.
    """
    wanted = Wanted.by(task)
    yield from _rows(path, format_of(path, wanted, form), wanted)


def format_of(path: Path, wanted: Wanted, name: str | None = None) -> Format:
    """The format of a file or folder: the one that is asked for, else what it looks like, else what its name tells.

    Raises DataError for a file that is missing, of a format for other tasks, or of none that is known.
    """
    if name is not None:
        return format_named(name, wanted, str(path))
    head = Head.of(path)
    found = format_like(head, wanted)
    if found is None and path.is_dir():
        opened(path)  # raises: no format of files is that of this folder
    return found if found is not None else format_called(bare_name(path), wanted, str(path))


def _rows(path: Path, form: Format, wanted: Wanted) -> Iterator[RawRow]:
    count = 0
    for row in form.read(path, wanted):
        count += 1
        yield row
    if not count:
        raise DataError(f"{path} has no rows; give a file with data")


def _hash(path: Path) -> bytes:
    with opened(path) as stream:
        try:
            return hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
