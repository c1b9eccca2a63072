"""Output rows as Arrow tables: a column for each key of the answers, after the columns of the row itself.

`id` (strings unchanged, other values as JSON) · kept columns of the input · `windows` · a column for each task. `bulk` adds
the `source` file and `row` in it (from 0) at the front, `predict` adds `error` at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from manyheads.errors import UsageError

if TYPE_CHECKING:
    from manyheads.tasks.base import AnswerType, Task

PLAIN = {"int": pa.int32(), "float": pa.float32(), "string": pa.string()}
PLACE = {"source": pa.string(), "row": pa.int64()}
"""Columns of `bulk`: the place of a row."""
ERROR = {"error": pa.string()}
"""Column of `predict`: the error of a row without answers."""


def schema_of(
    tasks: Sequence[Task[Any]],
    kept: Mapping[str, Any] | None = None,
    *,
    before: Mapping[str, Any] = PLACE,
    after: Mapping[str, Any] | None = None,
) -> Any:
    """The schema of a table with the answers of these tasks, and the kept columns of the input.

    Raises UsageError for a task or a kept column with the name of another column.
    """
    fields = {**before, "id": pa.string()}
    own = {**fields, "windows": pa.int32(), **(after or {})}
    answers = {key: arrow_type(kind) for task in tasks for key, kind in task.answer_types.items()}
    for task in tasks:
        if task.name in own:
            raise UsageError(f"the task '{task.name}' has the name of a column that every row has; leave it out with --task, "
                             "and answer it with `manyheads predict` into jsonl")  # fmt: skip
    for name in kept or {}:
        if name in own or name in answers:
            raise UsageError(f"the input's column '{name}' has the name of a column of the answers; rename it, or leave out "
                             "--keep")  # fmt: skip
    return pa.schema(list({**fields, **(kept or {}), "windows": pa.int32(), **answers, **(after or {})}.items()))


def arrow_type(kind: AnswerType) -> Any:
    """Arrow's type for the type of an answer."""
    if isinstance(kind, str):
        return PLAIN[kind]
    if isinstance(kind, list):
        return pa.list_(arrow_type(kind[0]))
    if isinstance(kind, tuple):
        return pa.map_(pa.string(), arrow_type(kind[1]))
    return pa.struct([(key, arrow_type(value)) for key, value in kind.items()])


def values_of(row: Mapping[str, Any], kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An output row as values by column."""
    error = {"error": row["error"]["message"]} if "error" in row else {}
    return {**(kept or {}), "id": row.get("id"), "windows": row.get("windows"), **row.get("tasks", {}), **error}


def table_of(schema: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    """A table of rows given as values by column. Missing values are null."""
    columns = [
        pa.array([_cell(row.get(name), kind) for row in rows], kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.table(columns, schema)


def as_text(value: Any) -> str:
    """A value for a column of strings: strings unchanged, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(value: Any, kind: Any) -> Any:
    """Convert maps to pairs, also inside of objects, and values of a column of strings to strings."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return as_text(value)
    if pa.types.is_map(kind):
        return list(value.items()) if isinstance(value, Mapping) else value
    if pa.types.is_struct(kind):
        return {
            kind.field(i).name: _cell(value.get(kind.field(i).name), kind.field(i).type) for i in range(kind.num_fields)
        }
    return value
