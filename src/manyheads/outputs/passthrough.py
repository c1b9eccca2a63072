"""The input's own columns in the output, next to the answers: `--keep`.

A Parquet column keeps its type. A column of a text format has the common type of its values if they are all numbers,
booleans or strings; otherwise its strings are unchanged, and other values become JSON. Finding types takes an extra pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from manyheads.data.formats.parquet import ParquetRows
from manyheads.data.requests import as_json, read_requests
from manyheads.errors import UsageError

OWN = frozenset({"windows", "tasks", "error"})
"""Keys of an output row, which no column to keep can have. `id` is always in the output."""
INDEX = "__index_level_"
"""Prefix of the columns that pandas adds."""
MOST = 1 << 63
KINDS: Mapping[frozenset[type], str] = {
    frozenset({bool}): "bool",
    frozenset({int}): "int64",
    frozenset({float}): "float64",
    frozenset({int, float}): "float64",
}
"""Names of the Arrow types of values; pyarrow is imported only for tables."""

Rows = Iterable[Any]
Answers = Iterator[dict[str, Any]]


def column_types(path: Path) -> dict[str, Any]:
    """Arrow types of the columns of a file of rows, except `id`. Raises DataError."""
    if ".parquet" in "".join(path.suffixes[-2:]).lower():
        with ParquetRows(path) as rows:
            return {field.name: field.type for field in rows.schema if is_passthrough(field.name)}
    import pyarrow as pa

    seen: dict[str, set[type]] = {}
    for row in read_requests(path):
        for name, value in row.items() if isinstance(row, Mapping) else ():
            if value is not None and is_passthrough(name):
                fits = not isinstance(value, int) or -MOST <= value < MOST
                seen.setdefault(name, set()).add(type(value) if fits else str)
    return {name: pa.type_for_alias(KINDS.get(frozenset(kinds), "string")) for name, kinds in seen.items()}


def merged_column_types(files: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Types of columns over several files; strings if the files differ."""
    import pyarrow as pa

    merged: dict[str, Any] = {}
    for types in files:
        for name, kind in types.items():
            merged[name] = kind if merged.get(name, kind) == kind else pa.string()
    return merged


def with_passthrough(rows: Rows, predict: Callable[[Rows], Answers]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each answer with the columns of its row. A row that could not be read has none."""
    waiting: deque[Any] = deque()

    def read() -> Iterator[Any]:
        for row in rows:
            waiting.append(row)
            yield row

    for answer in predict(read()):
        row = waiting.popleft()
        yield answer, {name: value for name, value in row.items() if is_passthrough(name)} if isinstance(row, Mapping) else {}


def as_json_row(answer: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """An output row with the kept columns after its id, as JSON. Raises UsageError for a name that is taken."""
    taken = sorted(OWN & kept.keys())
    if taken:
        raise UsageError(f"the input's column '{taken[0]}' has the name of a key of the answers; rename it, or leave out "
                         "--keep")  # fmt: skip
    head = {"id": answer["id"]} if "id" in answer else {}
    return {**head, **as_json_columns(kept), **answer}


def as_json_columns(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Kept columns as JSON: times as strings, NaN as null. Raises UsageError for bytes."""
    return {name: _plain(name, value) for name, value in kept.items()}


def is_passthrough(name: str) -> bool:
    """Whether a column of the input is copied to the output."""
    return name != "id" and not name.startswith(INDEX)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, float) and value != value:  # noqa: PLR0124  NaN, which JSON writes as null
        return None
    try:
        return as_json(value)
    except ValueError as error:
        raise UsageError(
            f"the input's column '{name[:80]}' holds a value that {error}; write parquet, or leave out --keep"
        ) from None
