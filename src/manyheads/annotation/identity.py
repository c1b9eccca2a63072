"""When two rows are the same: their texts are equal but for white space and case."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.data.formats.format import RowSchema
from manyheads.data.readers import format_of, read_rows
from manyheads.errors import DataError

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

TEXTS = ("text", "tokens", "text_pair", "question", "context")
Key = bytes


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


def labelled_keys(paths: Iterable[Path], tasks: Iterable[Task[Any]]) -> set[Key]:
    """The keys of all rows of labelled files, in any format that one of the tasks reads. Raises DataError."""
    found: set[Key] = set()
    kinds = list(dict.fromkeys(map(type, tasks)))
    for path in paths:
        found |= _keys_of(path, kinds)
    return found


def _keys_of(path: Path, kinds: list[type[Task[Any]]]) -> set[Key]:
    for last, kind in enumerate(kinds, start=1):
        schema = RowSchema.for_task(kind)
        try:
            return {row_key(raw.values) for raw in read_rows(path, format_of(path, schema), schema)}
        except DataError:
            if last == len(kinds):
                raise
    return set()
