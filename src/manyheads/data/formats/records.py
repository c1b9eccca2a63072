"""JSON records of an export, one per line or all in one array, and checked access to their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyheads.data.formats.json_items import items
from manyheads.data.formats.jsonl import as_row, numbered
from manyheads.data.formats.preview import Preview
from manyheads.errors import DataError


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON value with its place."""

    value: Any
    where: str


def values(path: Path) -> Iterator[Record]:
    """JSON values of any kind. Raises DataError for invalid JSON."""
    if not path.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson")) and Preview.of(path).json.array:
        for item in items(path):
            yield Record(item.value, item.where)
    else:
        for number, value in numbered(path):
            yield Record(value, f"{path}:{number}")


def objects(path: Path) -> Iterator[Record]:
    """JSON objects. Raises DataError for other values."""
    for record in values(path):
        yield Record(as_row(record.value, record.where), record.where)


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
