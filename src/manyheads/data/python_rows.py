"""Rows given from Python as the data of a task.

They are read like the rows of a JSON lines file: empty cells of tables are missing keys, numbers and arrays of numpy become
Python's, and class numbers of a `datasets.Dataset` become class names. The source is part of a run, which names it by number
of rows and content hash where the run is written down.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from manyheads.data.column_guess import Mapped, sample_of
from manyheads.data.formats.columns import column_names, object_rows, renamed
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.rows import RawRow
from manyheads.data.hub import opened_dataset
from manyheads.data.python_tables import Table, table_of, without_missing
from manyheads.data.readers import Opened
from manyheads.data.spooled_rows import SpooledRows, row_bytes
from manyheads.errors import DataError
from manyheads.tasks.base import Task

MARK = "python:"
"""How the name of such rows begins in a saved run file."""
TITLE = "rows from Python"


class PythonRows:
    """A list of dictionaries, or a table of any library. The rows of an iterator are kept in a file.

    >>> PythonRows([{"text": "Great.", "label": "good"}]).name
    'python:1 row, sha256 d7935b9bb807'
    """

    def __init__(self, given: Any) -> None:
        """Raises DataError for what does not hold rows."""
        if isinstance(given, Mapping) and given and all(table_of(part) is not None for part in given.values()):
            raise DataError(f"a {type(given).__name__} of {', '.join(map(str, given))} has several splits; give one of them")
        table = table_of(given)
        if table is None and (isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable)):
            raise DataError(f"the rows must be a list of dictionaries, a DataFrame, an Arrow table or a Dataset; seen "
                            f"{type(given).__name__}")  # fmt: skip
        self.dataset: Any = given if hasattr(given, "features") and hasattr(given, "select_columns") else None
        """A `datasets.Dataset`, which stays on disk; None if the rows are in `rows`."""
        if self.dataset is not None and not hasattr(given, "_fingerprint"):  # streamed
            self.dataset = None
        self.columns = table.columns if table else None
        self.rows: list[dict[str, Any]] | SpooledRows = []
        """Those of an iterator are in a file."""
        if self.dataset is None:
            found = _rows(given, table)
            self.rows = list(found) if hasattr(given, "__len__") else SpooledRows(found)

    def __len__(self) -> int:
        return len(self.dataset) if self.dataset is not None else len(self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the rows do."""
        if self.dataset is not None:
            return str(self.dataset._fingerprint)
        if isinstance(self.rows, SpooledRows):
            return self.rows.fingerprint
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(row_bytes(row))
        return digest.hexdigest()

    @property
    def name(self) -> str:
        """What a saved run file says instead of a path."""
        count = f"{len(self):,} row{'' if len(self) == 1 else 's'}"
        return f"{MARK}{count}, sha256 {hashlib.sha256(self.fingerprint.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class PythonSource:
    """Rows from Python as a data source."""

    rows: PythonRows
    columns: Mapped = field(default_factory=dict)
    """Our column: theirs."""

    def __str__(self) -> str:
        return self.rows.name


def open_python_rows(source: PythonSource, task: type[Task[Any]]) -> Opened:
    """The rows, ready to be read. Raises DataError if there are none, or a column is missing."""
    given, schema = source.rows, RowSchema.for_task(task, columns=source.columns)
    if not len(given):
        raise DataError("there are no rows; give at least one")
    if given.dataset is not None:
        return replace(opened_dataset(given.dataset, schema, "the dataset"), formats=(TITLE,))
    if given.columns is not None:
        column_names(schema, given.columns, "the table", lambda: sample_of(given.rows))
    renames = ",".join(f"{ours}={name}" for ours, name in sorted(source.columns.items()))
    return Opened(f"python|{renames}|{given.fingerprint}", partial(_raw_rows, given, schema), (TITLE,))


def _raw_rows(given: PythonRows, schema: RowSchema) -> Iterator[RawRow]:
    def objects() -> Iterator[tuple[dict[str, Any], str]]:
        return ((row, f"rows[{number}]") for number, row in enumerate(given.rows))

    if given.columns is None:
        yield from object_rows(schema, "the rows", objects)
        return
    for row, where in objects():  # a missing key is an empty cell
        yield RawRow(schema.normalised(renamed(row, schema.renames)), where)


def _rows(given: Any, table: Table | None) -> Iterator[dict[str, Any]]:
    """The rows without empty cells. Raises DataError for one that is not a mapping."""
    for number, row in enumerate(given if table is None else table.rows):
        if not isinstance(row, Mapping):
            raise DataError(f"rows[{number}] is of type {type(row).__name__}; a row is a dictionary with keys such as 'text'")
        yield without_missing(row)
