"""Rows in one JSON array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.columns import object_rows
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.json_items import items
from manyheads.data.formats.jsonl import as_row, found_or_error
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow


def looks_like(preview: Preview) -> bool:
    """A .json file that starts with a bracket, and objects in it."""
    return preview.name.endswith(".json") and preview.json.array and preview.text.lstrip()[1:].lstrip()[:1] in ("{", "]")


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows; an item that is not an object has an error. Raises DataError for invalid JSON, and missing columns."""
    return object_rows(
        schema, str(path), lambda: (found_or_error(item.value, item.where, as_row) for item in items(path))
    )
