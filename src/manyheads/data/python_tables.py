"""Tables from Python, recognised by their methods, so that neither pandas nor polars nor datasets is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Table(NamedTuple):
    """A table of any library."""

    columns: list[str] | None
    """None: a streamed dataset does not know its columns."""
    rows: Iterable[Mapping[str, Any]]


def table_of(given: Any) -> Table | None:
    """A DataFrame, Arrow table or batch, or dataset; None for anything else.

    >>> import pandas as pd
    >>> table_of(pd.DataFrame({"text": ["Great."]})).columns
    ['text']
    """
    if isinstance(given, str | Mapping | Sequence):
        return None

    def has(method: str) -> bool:
        return callable(getattr(given, method, None))

    found: Table | None = None
    if has("iter_rows"):  # polars
        found = Table(list(given.columns), given.iter_rows(named=True))
    elif has("itertuples"):  # pandas
        columns = list(map(str, given.columns))
        cells = given.itertuples(index=False, name=None)
        found = Table(columns, (dict(zip(columns, row, strict=True)) for row in cells))
    elif has("to_batches"):  # an Arrow table
        found = Table(list(given.column_names), (row for batch in given.to_batches() for row in batch.to_pylist()))
    elif has("to_pylist") and hasattr(given, "schema"):  # an Arrow batch
        found = Table(list(given.schema.names), given.to_pylist())
    elif hasattr(given, "column_names"):  # datasets
        found = Table(given.column_names, given)
    return found


def without_missing(row: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a row that are not empty, with numpy's arrays and numbers converted to Python's."""
    return {str(key): plain(value) for key, value in row.items() if not is_missing(value)}


def plain(value: Any) -> Any:
    """A cell with numpy's arrays and numbers converted to Python's."""
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
    except (TypeError, ValueError):  # NA has no truth value, an array has several
        return type(value).__name__ == "NAType"
