"""Rows in one JSON array: what JSON lines hold, with brackets around it and commas between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.format import Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.json_items import items
from manyheads.data.formats.jsonl import as_row
from manyheads.data.formats.rows import RawRow


def looks_like(head: Head) -> bool:
    """A .json file that starts with a bracket, and objects in it."""
    return head.name.endswith(".json") and head.json.array and head.text.lstrip()[1:].lstrip()[:1] in ("{", "]")


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Rows. Raises DataError for an item that is no object."""
    for item in items(path):
        yield RawRow(wanted.normalised(as_row(item.value, item.where)), item.where)
