"""What Python users hand over to be answered, as rows: texts, rows, generators, arrays, columns and tables.

Decided here:
- A table is known by what it can do, not by its class, so neither pandas nor polars nor datasets is imported.
- A table gives one row for each of its rows, with its columns as keys. An empty cell (None, NaN, NA) of `text` is the error
  of its row; any other empty cell is a key that the row does not have, as in csv and Parquet files.
- Whatever could be meant in two ways is refused: a set has no order, a dictionary of splits is no row, a path is no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any

from manyheads.errors import RowError, UsageError

Given = Any
"""A text, a row, or something that holds texts or rows."""
READ = ("text", "tokens", "context")
"""Columns that hold what is read; a table has at least one of them."""
KINDS = "a text, a row such as {'text': ...}, or a list, iterable, Series, DataFrame or Dataset of them"


def rows_given(inputs: Given) -> Iterator[Any]:
    """The rows of whatever was handed over, one by one; a RowError in the place of one that cannot be read.

    Raises UsageError at once for what holds neither texts nor rows.
    """
    if isinstance(inputs, str):
        return iter([{"text": inputs}])
    if _is_row_of_table(inputs):
        return _table_rows([inputs.to_dict()])
    if isinstance(inputs, Mapping):
        return iter([_one_row(inputs)])
    table = _table(inputs)
    if table is not None:
        return _table_rows(table)
    _check_listed(inputs)
    return (_row(value) for value in inputs)


def one_each(**parts: Given) -> Iterator[dict[str, Any]]:
    """Rows with a key for each argument; a text stands for all rows, others give one value a row.

    Raises UsageError when they are not equally many.
    """
    listed = {key: value for key, value in parts.items() if not isinstance(value, str)}
    columns = {key: list(_texts(key, value)) for key, value in listed.items()}
    sizes = {key: len(column) for key, column in columns.items()}
    if len(set(sizes.values())) > 1:
        counts = " and ".join(f"{size:,} of {key}" for key, size in sizes.items())
        raise UsageError(f"there are {counts}; give equally many, or one text that stands for all")
    count = next(iter(sizes.values()), 1)
    for i in range(count):
        yield {key: columns[key][i] if key in columns else value for key, value in parts.items()}


def task_names(tasks: str | Iterable[str] | None) -> list[str] | None:
    """Names of tasks: one, several, or None for all. Raises UsageError for none at all, and for what is no name."""
    if tasks is None:
        return None
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    if not names:
        raise UsageError("tasks is empty; name at least one, or leave it out for all")
    for name in names:
        if not isinstance(name, str):
            raise UsageError(f"tasks holds {name!r:.80}, which is not the name of a task")
    return names


def _texts(key: str, value: Given) -> Iterable[Any]:
    if isinstance(value, Mapping) or _table(value) is not None:
        raise UsageError(f"{key} must be a text or a column of texts, seen {_name(value)}; give a table by itself, with "
                         "its columns 'question' and 'context'")  # fmt: skip
    _check_listed(value)
    return value


def _one_row(given: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A dictionary that is one row. Raises UsageError for one that holds many."""
    inner = next((key for key in given if _table(given[key]) is not None), None)
    if inner is not None:
        raise UsageError(f"a {_name(given)} of {', '.join(map(str, given))} is no row; give one of them, as in "
                         f"[{inner!r}]")  # fmt: skip
    if isinstance(given.get("text"), list | tuple):
        raise UsageError("a dictionary is one row, and its 'text' is a list; give a list of rows, or a DataFrame")
    return given


def _check_listed(inputs: Any) -> None:
    """Raise UsageError for what is not a plain sequence or stream of texts and rows."""
    name = _name(inputs)
    if isinstance(inputs, bytes | bytearray | memoryview):
        raise UsageError(f"the input is {name}; decode it to a str first")
    if isinstance(inputs, PurePath):
        raise UsageError(f"{inputs} is a path, and no file is read here; give its texts, or use `manyheads predict`")
    if isinstance(inputs, Set):
        raise UsageError(f"a {name} has no order, so answers could not be told apart; give a list")
    shape = getattr(inputs, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise UsageError(f"the {name} has {len(shape)} dimensions; give one dimension of texts, or a DataFrame with a "
                         "'text' column")  # fmt: skip
    if callable(getattr(inputs, "collect_schema", None)):  # polars, before anything is computed
        raise UsageError(f"a {name} has no rows yet; give what its collect() returns")
    if not isinstance(inputs, Iterable):
        raise UsageError(f"the input must be {KINDS}; seen {name}")


def _row(value: Any) -> Any:
    """One item of a list: a text or a row."""
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "_asdict"):  # a named tuple, as itertuples() gives
        return _filled(value._asdict())
    if _is_row_of_table(value):
        return _filled(value.to_dict())
    if is_missing(value):
        return RowError(f"is missing (seen {value!r}); give a text")
    return RowError(f"must be a text or a row such as {{'text': ...}}, seen {_name(value)}")


def _table(given: Any) -> Iterable[Mapping[str, Any]] | None:
    """The rows of a table; None for what is none. Raises UsageError for a table without a column that is read."""
    if isinstance(given, str | Mapping | Sequence):
        return None
    rows: Any
    if callable(getattr(given, "iter_rows", None)):  # polars
        columns, rows = given.columns, lambda: given.iter_rows(named=True)
    elif callable(getattr(given, "itertuples", None)):  # pandas
        columns = list(given.columns)
        rows = lambda: (dict(zip(columns, cells, strict=True)) for cells in given.itertuples(index=False, name=None))  # noqa: E731
    elif callable(getattr(given, "to_batches", None)):  # an Arrow table
        columns, rows = given.column_names, lambda: (row for batch in given.to_batches() for row in batch.to_pylist())
    elif callable(getattr(given, "to_pylist", None)) and hasattr(given, "schema"):  # an Arrow batch
        columns, rows = given.schema.names, given.to_pylist
    elif hasattr(given, "column_names"):  # datasets
        columns, rows = given.column_names, lambda: given
    else:
        return None
    _check_columns(columns, _name(given))
    found: Iterable[Mapping[str, Any]] = rows()
    return found


def _check_columns(columns: Iterable[Any] | None, name: str) -> None:
    if columns is None:  # a stream of a data set, which does not know them
        return
    names = [str(column) for column in columns]
    if not set(READ) & set(names):
        raise UsageError(f"a {name} needs a 'text' column; it has {', '.join(names)[:200] or 'none'}; rename the one to be "
                         "read, or give that column alone")  # fmt: skip
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None:
        raise UsageError(f"the {name} has the column '{twice[:80]}' twice; rename one of them")


def _table_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    return map(_filled, rows)


def _filled(row: Mapping[str, Any]) -> Any:
    """The row of a table without its empty cells, its arrays as lists; a RowError where there is nothing to read."""
    cells = {str(key): _plain(value) for key, value in row.items() if not is_missing(value)}
    if not set(READ) & set(cells):
        read = next((key for key in READ if key in row), "text")
        return RowError(f"its '{read}' is missing (seen {row.get(read)!r}); give a text", cells.get("id"))
    return cells


def _plain(value: Any) -> Any:
    """A cell without numpy: arrays as lists, numbers of numpy as Python's."""
    convert = getattr(value, "tolist", None)
    return value if isinstance(value, str) or not callable(convert) else convert()


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: None, NaN, NaT, or pandas' NA."""
    if value is None:
        return True
    if isinstance(value, str | Mapping | Sequence):
        return False
    try:
        return bool(value != value)  # noqa: PLR0124  as only NaN is
    except (TypeError, ValueError):  # NA cannot be compared, an array has many answers
        return type(value).__name__ == "NAType"


def _is_row_of_table(given: Any) -> bool:
    """Whether this is one row of a pandas table: a Series whose index are names of columns."""
    if not (callable(getattr(given, "to_dict", None)) and hasattr(given, "index") and not hasattr(given, "columns")):
        return False
    return any(isinstance(key, str) and key in READ for key in given.index)


def _name(given: Any) -> str:
    return type(given).__name__
