"""JSON records of an export, one per line or all in one array, and checked access to their fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from manyheads.data.formats.json_items import items
from manyheads.data.formats.jsonl import as_row, found_or_error, in_lines
from manyheads.data.formats.preview import Preview
from manyheads.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON value with its place."""

    value: Any
    where: str
    error: str | None = None
    """Why there is no value; those after it can still be read."""

    def read(self, read: Callable[[Record], T]) -> T:
        """What `read` makes of the record. Raises DataError for one with an error."""
        if self.error is not None:
            raise DataError(self.error)
        return read(self)


def values(path: Path) -> Iterator[Record]:
    """JSON values of any kind; a line without one has an error. Raises DataError for a broken array."""
    return _records(path, lambda value, _: value)


def objects(path: Path) -> Iterator[Record]:
    """JSON objects; other values, and lines without one, have an error. Raises DataError for a broken array."""
    return _records(path, as_row)


def _records(path: Path, read: Callable[[Any, str], Any]) -> Iterator[Record]:
    lines = path.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson")) or not Preview.of(path).json.array
    in_array = (found_or_error(item.value, item.where, read) for item in items(path))
    for value, where in in_lines(path, read) if lines else in_array:
        yield Record(None, where, str(value)) if isinstance(value, DataError) else Record(value, where)


def as_list(value: Any, where: str, key: str) -> list[Any]:
    """The value if it is a list; else raises DataError."""
    if not isinstance(value, list):
        raise DataError(f"{where} has a '{key}' that is not a list, seen {value!r:.80}")
    return value


def as_object(value: Any, where: str, key: str) -> dict[str, Any]:
    """The value if it is an object; else raises DataError."""
    if not isinstance(value, dict):
        raise DataError(f"{where} has a '{key}' that is not an object, seen {value!r:.80}")
    return value


def as_text(value: Any, where: str, key: str = "text") -> str:
    """The value if it is a string; else raises DataError."""
    if not isinstance(value, str):
        raise DataError(f"{where} has no '{key}' that is a string, seen {value!r:.80}")
    return value


def as_offset(value: Any, where: str) -> int:
    """The value if it is a whole number; else raises DataError."""
    if type(value) is not int:
        raise DataError(f"{where} has the offset {value!r:.80}; give a whole number")
    return value


def as_label(value: Any, where: str) -> str:
    """The value if it is the name of a label; else raises DataError."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} has a span with the label {value!r:.80}; give it a name")
    return value


def object_list(values: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """The objects listed under a key; none if the key is missing or null. Raises DataError for anything else."""
    return [as_object(one, where, key) for one in as_list(values.get(key) or [], where, key)]
