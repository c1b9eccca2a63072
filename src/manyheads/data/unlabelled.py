"""Rows without gold labels: unlabelled rows for a teacher to label, and files of soft labels.

Their format is recognised by file name alone (JSON lines, Parquet, csv), because content detection looks for labels, which
these rows lack. Unlabelled rows are held in memory as Arrow tables, about the size of their file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from manyheads.data.formats.detection import format_by_extension
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.lines import bare_name, opened
from manyheads.data.formats.rows import RawRow
from manyheads.data.readers import read_rows
from manyheads.data.report import MOST_ERRORS, refuse
from manyheads.data.table import BATCH_ROWS, ExampleT, record_batch, row_json, texts_digest
from manyheads.errors import RowError
from manyheads.tasks.base import Row, Task


def rows_of_any_task(path: Path, what: str) -> Iterator[RawRow]:
    """The rows of a file, whatever their columns. `what`: a name of the rows for messages. Raises DataError."""
    opened(path).close()
    schema = RowSchema(what)
    yield from read_rows(path, format_by_extension(bare_name(path), schema, str(path)), schema)


def read_unlabelled(task: Task[ExampleT], read: Callable[[Row], ExampleT], paths: Sequence[Path]) -> list[Any]:
    """Record batches of unlabelled rows. Raises DataError with the place of every row that `read` refuses."""
    batches, waiting, errors = [], [], list[str]()
    for path in paths:
        for raw in rows_of_any_task(path, "unlabelled"):
            try:
                example = read(raw.values)
                text = row_json(raw.values)
            except RowError as error:
                errors.append(f"{raw.where}: {error}")
            else:
                waiting.append((text, raw.where, "", 1, texts_digest(task, example)))
            if len(errors) > MOST_ERRORS:
                refuse(errors)
            if len(waiting) >= BATCH_ROWS:
                batches.append(record_batch(waiting))
                waiting = []
    refuse(errors)
    return [*batches, *([record_batch(waiting)] if waiting else [])]


def batches_of_rows(task: Task[ExampleT], read: Callable[[Row], ExampleT], rows: Sequence[Row], where: str) -> list[Any]:
    """Record batches of unlabelled rows in memory, which all come from one place."""
    made = [(row_json(row), where, "", 1, texts_digest(task, read(row))) for row in rows]
    return [record_batch(made[start : start + BATCH_ROWS]) for start in range(0, len(made), BATCH_ROWS)]
