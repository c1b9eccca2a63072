"""When two rows are the same: their texts are equal but for white space and case."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.data.column_guess import Mapped
from manyheads.data.formats.format import RowSchema
from manyheads.data.readers import format_of, read_rows
from manyheads.errors import ColumnsError, DataError

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

TEXTS = ("text", "tokens", "text_pair", "question", "context")
Key = bytes
Reading = tuple["type[Task[Any]]", Mapped]
"""How a file may be read: as data of a task of this type, with these columns (ours: that of the file)."""


def row_key(row: Mapping[str, Any]) -> Key:
    """A digest of the texts of a row. Tokens and the text that they are the words of have the same one.

    >>> row_key({"text": "In  vivo"}) == row_key({"tokens": ["in", "vivo"]})
    True
    """
    parts = []
    for name in TEXTS:
        value = row.get(name)
        text = "".join(map(str, value)) if isinstance(value, list) else value if isinstance(value, str) else ""
        parts.append("".join(text.split()).casefold())
    return hashlib.blake2b(
        "\0".join([parts[0] or parts[1], *parts[2:]]).encode("utf-8", "surrogatepass"), digest_size=12
    ).digest()


def labelled_keys(paths: Iterable[Path], readings: Sequence[Reading]) -> set[Key]:
    """The keys of all rows of labelled files, each read as the first of these that it can be read as. Raises DataError."""
    found: set[Key] = set()
    for path in paths:
        found |= _keys_of(path, readings)
    return found


def _keys_of(path: Path, readings: Sequence[Reading]) -> set[Key]:
    for last, (kind, columns) in enumerate(readings, start=1):
        schema = RowSchema.for_task(kind, (), columns)
        try:
            return {row_key(raw.values) for raw in read_rows(path, format_of(path, schema), schema)}
        except DataError as error:
            if last == len(readings):
                hint = "; give them as --columns OURS=THEIRS" if isinstance(error, ColumnsError) and not columns else ""
                raise DataError(f"{error}{hint}") from None
    return set()
