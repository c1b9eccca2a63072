"""JSON objects of an export, whether it has one on each line or all in one array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyheads.data.formats.head import Head
from manyheads.data.formats.json_items import items
from manyheads.data.formats.jsonl import as_row, numbered
from manyheads.errors import DataError


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON value with its place."""

    value: Any
    where: str


def values(path: Path) -> Iterator[Record]:
    """JSON values of any kind. Raises DataError for what is not JSON."""
    if not path.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson")) and Head.of(path).json.array:
        for item in items(path):
            yield Record(item.value, item.where)
    else:
        for number, value in numbered(path):
            yield Record(value, f"{path}:{number}")


def objects(path: Path) -> Iterator[Record]:
    """JSON objects. Raises DataError for other values."""
    for record in values(path):
        yield Record(as_row(record.value, record.where), record.where)


def a_list(value: Any, where: str, key: str) -> list[Any]:
    """A list. Raises DataError for what is none."""
    if not isinstance(value, list):
        raise DataError(f"{where} has a '{key}' that is no list, seen {value!r:.80}")
    return value


def an_object(value: Any, where: str, key: str) -> dict[str, Any]:
    """An object. Raises DataError for what is none."""
    if not isinstance(value, dict):
        raise DataError(f"{where} has a '{key}' that is no object, seen {value!r:.80}")
    return value
