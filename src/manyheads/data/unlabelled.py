"""Rows beside the labelled ones of a training table: unlabelled rows that a teacher labels, and files of soft labels.

Decided here: a format is told by the name of the file alone (JSON lines, Parquet, csv): what formats are otherwise told by,
the labels, is what these rows lack. Unlabelled rows are held in memory as Arrow has them, about the size of their file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from manyheads.data.formats.format import Wanted
from manyheads.data.formats.known import format_called
from manyheads.data.formats.lines import bare_name, opened
from manyheads.data.formats.rows import RawRow
from manyheads.data.report import MOST_ERRORS, refuse
from manyheads.data.table import SCHEMA, ExampleT, texts_digest
from manyheads.errors import DataError, RowError
from manyheads.tasks.base import Row, Task

BATCH_ROWS = 4096


def bare_rows(path: Path, what: str) -> Iterator[RawRow]:
    """The rows of a file, whatever keys they have. `what`: it is called in messages. Raises DataError."""
    opened(path).close()
    wanted = Wanted(what)
    count = 0
    for raw in format_called(bare_name(path), wanted, str(path)).read(path, wanted):
        count += 1
        yield raw
    if not count:
        raise DataError(f"{path} has no rows; give a file with data")


def read_unlabelled(task: Task[ExampleT], read: Callable[[Row], ExampleT], paths: Sequence[Path]) -> list[Any]:
    """Record batches of unlabelled rows. Raises DataError with the place of every row that `read` refuses."""
    batches, waiting, errors = [], [], list[str]()
    for path in paths:
        for raw in bare_rows(path, "unlabelled"):
            try:
                example = read(raw.values)
                text = json.dumps(raw.values, ensure_ascii=False, default=str)
                text.encode()
            except UnicodeEncodeError:
                errors.append(f"{raw.where}: holds half of a surrogate pair, which is no character; mend the text")
            except RowError as error:
                errors.append(f"{raw.where}: {error}")
            else:
                waiting.append((text, raw.where, "", 1, texts_digest(task, example)))
            if len(errors) > MOST_ERRORS:
                refuse(errors)
            if len(waiting) >= BATCH_ROWS:
                batches.append(_batch(waiting))
                waiting = []
    refuse(errors)
    return [*batches, *([_batch(waiting)] if waiting else [])]


def _batch(rows: list[tuple[Any, ...]]) -> Any:
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(cells, kind) for cells, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)
