"""The input's own columns beside the answers: `--keep`.

Decided here: a column of Parquet keeps its type. One of a text format is of numbers, truth values or strings when all of its
values are; otherwise its strings stay as they are, and anything else becomes JSON. For that the file is read once before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from manyheads.data.formats.parquet import ParquetRows
from manyheads.data.requests import as_json, read_requests
from manyheads.errors import UsageError

OWN = frozenset({"windows", "tasks", "error"})
"""Keys of an output row, which no kept column can have. `id` is in it anyway."""
INDEX = "__index_level_"
"""How pandas calls a column that it added."""
MOST = 1 << 63
KINDS: Mapping[frozenset[type], Any] = {
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
}

Rows = Iterable[Any]
Answers = Iterator[dict[str, Any]]


def types_of(path: Path) -> dict[str, Any]:
    """Arrow types of the columns of a file of rows, `id` apart. Raises DataError."""
    if ".parquet" in "".join(path.suffixes[-2:]).lower():
        with ParquetRows(path) as rows:
            return {field.name: field.type for field in rows.schema if is_kept(field.name)}
    seen: dict[str, set[type]] = {}
    for row in read_requests(path):
        for name, value in row.items() if isinstance(row, Mapping) else ():
            if value is not None and is_kept(name):
                fits = not isinstance(value, int) or -MOST <= value < MOST
                seen.setdefault(name, set()).add(type(value) if fits else str)
    return {name: KINDS.get(frozenset(kinds), pa.string()) for name, kinds in seen.items()}


def joined_types(files: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Types of columns over several files; strings where the files do not agree."""
    joined: dict[str, Any] = {}
    for types in files:
        for name, kind in types.items():
            joined[name] = kind if joined.get(name, kind) == kind else pa.string()
    return joined


def beside(rows: Rows, predict: Callable[[Rows], Answers]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each answer with the other columns of its row. A row that could not be read has none."""
    waiting: deque[Any] = deque()

    def read() -> Iterator[Any]:
        for row in rows:
            waiting.append(row)
            yield row

    for answer in predict(read()):
        row = waiting.popleft()
        yield answer, {name: value for name, value in row.items() if is_kept(name)} if isinstance(row, Mapping) else {}


def as_json_row(answer: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """An output row with the kept columns behind its id, as JSON has them. Raises UsageError for a name that is taken."""
    taken = sorted(OWN & kept.keys())
    if taken:
        raise UsageError(f"the input's column '{taken[0]}' has the name of a key of the answers; rename it, or leave out "
                         "--keep")  # fmt: skip
    head = {"id": answer["id"]} if "id" in answer else {}
    return {**head, **as_json_columns(kept), **answer}


def as_json_columns(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Kept columns as JSON has them: times as strings, NaN as null. Raises UsageError for bytes."""
    return {name: _plain(name, value) for name, value in kept.items()}


def is_kept(name: str) -> bool:
    """Whether a column of the input is carried along."""
    return name != "id" and not name.startswith(INDEX)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, float) and value != value:  # noqa: PLR0124  NaN, which JSON writes as null
        return None
    try:
        return as_json(value)
    except ValueError as error:
        raise UsageError(
            f"the input's column '{name[:80]}' holds what {error}; write parquet, or leave out --keep"
        ) from None
