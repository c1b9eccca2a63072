"""Rows in one JSON object: a list of them under a key, or the columns of a table, as pandas writes them.

    {"version": "1.0", "data": [{"text": "...", "label": "..."}, ...]}
    {"text": {"0": "...", "1": "..."}, "label": {"0": "...", "1": "..."}}          DataFrame.to_json()
    {"text": ["...", "..."], "label": ["...", "..."]}
    {"columns": ["text", "label"], "index": [0, 1], "data": [["...", "..."], ...]}  orient="split"

The file is one JSON value, so it is held in memory whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manyheads.data.formats.columns import object_rows
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.jsonl import as_row, found_or_error
from manyheads.data.formats.messages import counted, json_type
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow
from manyheads.data.formats.squad import whole_json
from manyheads.errors import DataError


def looks_like(preview: Preview) -> bool:
    """A .json file of one object: with a list of objects and no text, or with nothing but lists and objects."""
    if not preview.name.endswith(".json") or preview.text.lstrip()[:1] != "{" or _has_lines(preview.text):
        return False
    keys = {path.split(".")[0].split("[")[0] for path in preview.json.paths if path}
    rows = {path.partition("[].")[0] for path in preview.json.paths if "[]." in path}
    return bool(rows & keys and "text" not in keys) or (bool(keys) and all(preview.json.under(key) for key in keys))


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows; an item that is not an object has an error. Raises DataError for another form, and missing columns."""
    rows = rows_of(whole_json(path), str(path))
    return object_rows(
        schema,
        str(path),
        lambda: (found_or_error(row, f"{path}: item {number}", as_row) for number, row in enumerate(rows, 1)),
    )


def rows_of(found: Any, name: str) -> list[Any]:
    """The rows of an object; `name` is that of the file. Raises DataError."""
    if not isinstance(found, Mapping):
        raise DataError(f"{name} holds {json_type(found)}, not a JSON object")
    lists = {
        key: value
        for key, value in found.items()
        if isinstance(value, list) and isinstance(next(iter(value), None), Mapping)
    }
    if len(lists) > 1:
        raise DataError(f"{name} has rows under {', '.join(lists)}; write each list into a file of its own")
    if lists:
        return next(iter(lists.values()))
    names, cells = found.get("columns"), found.get("data")
    if isinstance(names, list) and isinstance(cells, list):
        return _rows_of_cells(names, cells, name)
    return _rows_of_columns(found, name) if found else []


def _rows_of_cells(names: list[Any], rows: list[Any], name: str) -> list[dict[str, Any]]:
    if not all(isinstance(one, str) for one in names):
        raise DataError(f"{name} has 'columns' that are not strings; name the columns before you write the table")
    for number, cells in enumerate(rows, 1):
        if not isinstance(cells, list) or len(cells) != len(names):
            expected = f"a list with a value for each of the columns {', '.join(names):.500}"
            raise DataError(f"{name}: item {number} is not {expected}")
    return [dict(zip(names, cells, strict=True)) for cells in rows]


def _rows_of_columns(found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    columns = {}
    for key, value in found.items():
        if not isinstance(value, list | Mapping):
            raise DataError(f"{name} has {json_type(value)} under {key[:80]!r}; the rows of a JSON object are a list under "
                            "one of its keys, or a list under each")  # fmt: skip
        columns[key] = dict(enumerate(value)) if isinstance(value, list) else value
    first, *others = columns.items()
    for key, column in others:
        if column.keys() != first[1].keys():
            there = " and ".join(f"{counted(len(one), 'value')} under {k[:80]!r}" for k, one in (first, (key, column)))
            raise DataError(f"{name} has {there}; give every row a value in each column")
    return [{key: column[place] for key, column in columns.items()} for place in first[1]]


def _has_lines(text: str) -> bool:
    """Whether the first line is an object of its own, and others follow."""
    first, _, rest = text.lstrip().partition("\n")
    return first.rstrip().endswith("}") and rest.lstrip()[:1] == "{"
