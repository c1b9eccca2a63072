"""Inputs from Python as rows: texts, rows, generators, arrays, columns and tables.

Design:
- Tables are recognised by their methods, not by their class, so neither pandas nor polars nor datasets is imported.
- The columns of a table are the keys of its rows. An empty cell (None, NaN, NA) of `text` is an error of its row; any other
  empty cell is a missing key, as in csv and Parquet files.
- Ambiguous inputs are refused: a set has no order, a dictionary of splits is not a row, a path is not a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import PurePath
from typing import Any

from manyheads.data.python_tables import is_missing, table_of, without_missing
from manyheads.errors import RowError, UsageError

Inputs = Any
"""A text, a row, or a collection of texts or rows."""
READ = ("text", "tokens", "sentences", "context")
"""Columns with text to read; a table has at least one of them."""
KINDS = "a text, a row such as {'text': ...}, or a list, iterable, Series, DataFrame or Dataset of them"


def rows_of_inputs(inputs: Inputs) -> Iterator[Any]:
    """The rows of any supported input, one by one; a RowError in place of a row that cannot be read.

    Raises UsageError at once for an input without texts or rows.

    >>> list(rows_of_inputs(["Great.", {"text": "Bad.", "id": 7}]))
    [{'text': 'Great.'}, {'text': 'Bad.', 'id': 7}]
    """
    if isinstance(inputs, str):
        return iter([{"text": inputs}])
    if _is_row_of_table(inputs):
        return iter([_filled(inputs.to_dict())])
    if isinstance(inputs, Mapping):
        return iter([_one_row(inputs)])
    table = _table(inputs)
    if table is not None:
        return map(_filled, table)
    _check_listed(inputs)
    return (_row(value) for value in inputs)


def broadcast_rows(**parts: Inputs) -> Iterator[dict[str, Any]]:
    """Rows with a key for each argument; a single text is repeated in every row, columns give one value per row.

    Raises UsageError for columns of different lengths.

    >>> list(broadcast_rows(question=["Who?", "When?"], context="Ada wrote in 1843."))[1]
    {'question': 'When?', 'context': 'Ada wrote in 1843.'}
    """
    listed = {key: value for key, value in parts.items() if not isinstance(value, str)}
    columns = {key: list(_texts(key, value)) for key, value in listed.items()}
    sizes = {key: len(column) for key, column in columns.items()}
    if len(set(sizes.values())) > 1:
        counts = " and ".join(f"{size:,} of {key}" for key, size in sizes.items())
        raise UsageError(f"there are {counts}; give equally many, or a single text for all")
    count = next(iter(sizes.values()), 1)
    for i in range(count):
        yield {key: columns[key][i] if key in columns else value for key, value in parts.items()}


def task_names(tasks: str | Iterable[str] | None) -> list[str] | None:
    """Task names as a list; None for all. Raises UsageError for an empty list, and for anything but strings."""
    if tasks is None:
        return None
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    if not names:
        raise UsageError("tasks is empty; name at least one, or leave it out for all")
    for name in names:
        if not isinstance(name, str):
            raise UsageError(f"tasks holds {name!r:.80}, which is not the name of a task")
    return names


def _texts(key: str, value: Inputs) -> Iterable[Any]:
    if isinstance(value, Mapping) or _table(value) is not None:
        raise UsageError(f"{key} must be a text or a column of texts, seen {_name(value)}; give a table by itself, with "
                         "its columns 'question' and 'context'")  # fmt: skip
    _check_listed(value)
    return value


def _one_row(given: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A dictionary that is one row. Raises UsageError for one that holds several."""
    inner = next((key for key in given if _table(given[key]) is not None), None)
    if inner is not None:
        raise UsageError(f"a {_name(given)} of {', '.join(map(str, given))} is not a row; give one of them, as in "
                         f"[{inner!r}]")  # fmt: skip
    if isinstance(given.get("text"), list | tuple):
        raise UsageError("a dictionary is one row, and its 'text' is a list; give a list of rows, or a DataFrame")
    return given


def _check_listed(inputs: Any) -> None:
    """Raise UsageError unless the input is a sequence or iterable of texts and rows."""
    name = _name(inputs)
    if isinstance(inputs, bytes | bytearray | memoryview):
        raise UsageError(f"the input is {name}; decode it to a str first")
    if isinstance(inputs, PurePath):
        raise UsageError(f"{inputs} is a path, but files are not read here; give texts, or use `manyheads predict`")
    if isinstance(inputs, Set):
        raise UsageError(f"a {name} has no order, so answers could not be matched to texts; give a list")
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
    """The rows of a table; None for other inputs. Raises UsageError for a table without a column to read."""
    table = table_of(given)
    if table is None:
        return None
    _check_columns(table.columns, _name(given))
    return table.rows


def _check_columns(columns: Iterable[Any] | None, name: str) -> None:
    if columns is None:  # a streamed dataset does not know its columns
        return
    names = [str(column) for column in columns]
    if not set(READ) & set(names):
        raise UsageError(f"a {name} needs a 'text' column; it has {', '.join(names)[:200] or 'none'}; rename the one to "
                         "read, or give that column alone")  # fmt: skip
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None:
        raise UsageError(f"the {name} has the column '{twice[:80]}' twice; rename one of them")


def _filled(row: Mapping[str, Any]) -> Any:
    """The row of a table without its empty cells, with arrays as lists; a RowError if there is nothing to read."""
    cells = without_missing(row)
    if not set(READ) & set(cells):
        read = next((key for key in READ if key in row), "text")
        return RowError(f"its '{read}' is missing (seen {row.get(read)!r}); give a text", cells.get("id"))
    return cells


def _is_row_of_table(given: Any) -> bool:
    """Whether this is one row of a pandas table: a Series indexed by column names."""
    if not (callable(getattr(given, "to_dict", None)) and hasattr(given, "index") and not hasattr(given, "columns")):
        return False
    return any(isinstance(key, str) and key in READ for key in given.index)


def _name(given: Any) -> str:
    return type(given).__name__
