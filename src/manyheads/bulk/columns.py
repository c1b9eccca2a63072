"""Output rows as Arrow tables: where a row came from, then a column for each key of the answers.

`source` file and `row` in it (from 0) · `id` (a string as it is, anything else as JSON) · `windows` · a column for each task.
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


def schema_of(tasks: Sequence[Task[Any]]) -> Any:
    """The schema of a table with the answers of these tasks. Raises UsageError for one that is called as another column."""
    fields = {"source": pa.string(), "row": pa.int64(), "id": pa.string(), "windows": pa.int32()}
    for task in tasks:
        if task.name in fields:
            raise UsageError(f"the task '{task.name}' has the name of a column that every row has; leave it out with --task, "
                             "and answer it with `manyheads predict`")  # fmt: skip
        fields |= {key: arrow_type(kind) for key, kind in task.answer_types.items()}
    return pa.schema(list(fields.items()))


def arrow_type(kind: AnswerType) -> Any:
    """Arrow's type for the type of an answer."""
    if isinstance(kind, str):
        return PLAIN[kind]
    if isinstance(kind, list):
        return pa.list_(arrow_type(kind[0]))
    if isinstance(kind, tuple):
        return pa.map_(pa.string(), arrow_type(kind[1]))
    return pa.struct([(key, arrow_type(value)) for key, value in kind.items()])


def table_of(schema: Any, file: str, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Any:
    """A table of answered rows and their places in a file. A key that a row does not have is null."""
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for place, row in rows:
        values = {"source": file, "row": place, "id": _id(row.get("id")), "windows": row["windows"], **row["tasks"]}
        for name, cells in columns.items():
            cells.append(_cell(values.get(name), schema.field(name).type))
    return pa.table([pa.array(cells, schema.field(name).type) for name, cells in columns.items()], schema)


def _id(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _cell(value: Any, kind: Any) -> Any:
    """Maps go in as pairs, also inside of objects."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return list(value.items())
    if pa.types.is_struct(kind):
        return {
            kind.field(i).name: _cell(value.get(kind.field(i).name), kind.field(i).type) for i in range(kind.num_fields)
        }
    return value
