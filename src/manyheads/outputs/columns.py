"""Output rows as Arrow tables: a column for each key of the answers, and before them what the row came with.

`id` (a string as it is, anything else as JSON) · columns of the input that are kept · `windows` · a column for each task.
`bulk` puts `source` file and `row` in it (from 0) first, `predict` puts `error` last.
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
"""Columns of `bulk`: where a row came from."""
ERROR = {"error": pa.string()}
"""Column of `predict`: what was wrong with a row, which has no answers then."""


def schema_of(
    tasks: Sequence[Task[Any]],
    kept: Mapping[str, Any] | None = None,
    *,
    before: Mapping[str, Any] = PLACE,
    after: Mapping[str, Any] | None = None,
) -> Any:
    """The schema of a table with the answers of these tasks, and the columns of the input that are kept.

    Raises UsageError for a task or a kept column that is called as another column.
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
    """A table of rows that are values by column. What a row does not have is null."""
    columns = [
        pa.array([_cell(row.get(name), kind) for row in rows], kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.table(columns, schema)


def as_text(value: Any) -> str:
    """A value of a column of strings: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(value: Any, kind: Any) -> Any:
    """Maps go in as pairs, also inside of objects; what is no string goes into a column of strings as JSON."""
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
