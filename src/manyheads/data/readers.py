"""Data files to rows, each with its place, so that every error names `file:line`.

Reading is strict, and only blank lines are skipped: a row or line that cannot be read is a row with an error where those
after it still can (tables, JSON, CoNLL columns, exports of annotation tools), and any other defect ends the reading with a
DataError.

The data source names the format, or the content shows it (`formats/detection.py`), or else the file name decides, together
with the columns that the task reads: `.json` is SQuAD for questions and JSON lines for others; any unknown ending is CoNLL
columns for tagged words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyheads.data.column_guess import Mapped
from manyheads.data.formats.beir import judgements_in
from manyheads.data.formats.detection import format_by_content, format_by_extension, format_by_name
from manyheads.data.formats.format import Format, RowSchema
from manyheads.data.formats.lines import bare_name, opened
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow, sound
from manyheads.data.formats.standoff import whole_row
from manyheads.errors import DataError
from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Files:
    """Local files, read one after the other."""

    paths: tuple[Path, ...]
    format: str | None = None
    """By name; None: detected for each file."""
    names: tuple[str, ...] = ()
    """Names of classes that the files store as numbers, in their order."""
    columns: Mapped = field(default_factory=dict)
    """Our column: theirs, where they differ."""

    def __str__(self) -> str:
        return ", ".join(str(path) for path in self.paths)


@dataclass(frozen=True, slots=True)
class Opened:
    """A data source ready to be read."""

    fingerprint: str
    """Changes whenever the rows or their places do."""
    rows: Callable[[], Iterator[RawRow]]
    formats: tuple[str, ...] = ()
    """Their titles, for reports."""
    columns: Mapped = field(default_factory=dict)
    """Our column: theirs, for messages."""


def open_files(files: Files, task: type[Task[Any]]) -> Opened:
    """Files with a hash of their contents and names; modification times do not matter. Raises DataError."""
    schema = RowSchema.for_task(task, files.names, files.columns)
    digest = hashlib.sha256(str(sorted(files.columns.items())).encode("utf-8", "surrogateescape"))
    titles: dict[str, None] = {}
    read: list[tuple[Path, Format]] = []
    for path in files.paths:
        form = format_of(path, schema, files.format)
        titles[form.title] = None
        read.append((path, form))
        digest.update(f"{form.name}\0{files.names}\0".encode("utf-8", "surrogateescape"))
        for part in form.files(path):
            hash_file(part, digest)
    return Opened(
        digest.hexdigest(),
        lambda: (row for path, form in read for row in _rows_and_errors(path, form, schema)),
        tuple(titles),
    )


def format_of(path: Path, schema: RowSchema, name: str | None = None) -> Format:
    """The format of a file or folder: by its name if given, else by content, else by file name.

    Raises DataError for a file that is missing, of a format for other tasks, or of an unknown format.
    """
    if name is not None:
        return format_by_name(name, schema, str(path))
    preview = Preview.of(path, schema.renames)
    found = format_by_content(preview, schema)
    if found is None and (judged := judgements_in(path)):
        raise DataError(f"{path} is a folder of BEIR; name the judgements of a split: {', '.join(map(str, judged[:5]))}")
    if found is None and path.is_dir():
        opened(path)  # raises: no folder format matches
    return found if found is not None else format_by_extension(bare_name(path), schema, str(path), preview=preview)


def read_rows(path: Path, form: Format, schema: RowSchema) -> Iterator[RawRow]:
    """The rows of a file. Raises DataError for the first defect, and for a file without rows."""
    return sound(_rows_and_errors(path, form, schema))


def _rows_and_errors(path: Path, form: Format, schema: RowSchema) -> Iterator[RawRow]:
    """`read_rows`, but where a row has an error, the others follow."""
    row = None
    overlaps = schema.has_any("entities") and not schema.has_any("tags")  # tags give a character one label
    for row in form.read(path, schema):
        yield whole_row(row, relations=schema.has_any("relations")) if overlaps else row
    if row is None:
        raise DataError(f"{path} has no rows; give a file with data")


def hash_file(path: Path, digest: hashlib._Hash) -> None:
    """Add a file's path and content to a digest. Raises DataError if it cannot be read."""
    with opened(path) as stream:
        try:
            content = hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
    digest.update(f"{path}\0".encode("utf-8", "surrogateescape") + content)
