"""Rows of files and of the hub to tables: every row is read by its task once, and bad rows are reported with their places.

What `Task.read`, `row_of_target`, `collect`, `cluster` and the texts of `scored_inputs` return depends on no settings
of a task but those in `Task.reading`, so a table serves every run with a task of that type, name and reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyheads.data.cache import TemporaryFolder, cache_folder, find, store, table_key
from manyheads.data.column_guess import Mapped
from manyheads.data.documents import own_rows
from manyheads.data.formats.rows import RawRow
from manyheads.data.hub import Hub, open_hub
from manyheads.data.python_rows import PythonSource, open_python_rows
from manyheads.data.readers import Files, Opened, open_files
from manyheads.data.report import (
    MOST_ERRORS,
    MOST_OFFERED,
    ReadReport,
    RunningStatistics,
    Skipped,
    count_row,
    placed_errors,
    refuse,
)
from manyheads.data.saved_datasets import SavedDataset, open_saved_dataset
from manyheads.data.table import BATCH_ROWS, ExampleT, ExampleTable, open_table, record_batch, row_json, texts_digest
from manyheads.data.tag_scheme import TagSchemeCheck
from manyheads.errors import DataError, RowError
from manyheads.tasks.base import Task

DataSource = Files | Hub | SavedDataset | PythonSource

BATCH_BYTES = 4_000_000
"""Rows are written once they are this large, or BATCH_ROWS many: what building a table holds in memory."""


def build_table(
    task: Task[ExampleT], source: DataSource, split: str, *, cache: Path | None = None
) -> tuple[ExampleTable[ExampleT], ReadReport]:
    """The examples of a task in a data source, from the cache if they were read before.

    `split` (train, validation, test) is loaded of a hub dataset that names none itself. `cache` defaults to
    `cache_folder()`; a temporary folder replaces one that cannot be used. Raises DataError, with up to MOST_ERRORS lines
    of `place: message`, for bad rows, and if no row can be used.
    """
    opened = replace(_open(source, type(task), split), columns=source.columns)
    key = table_key(task, opened.fingerprint)
    folder = cache if cache is not None else cache_folder()
    kept = find(task, folder, key)
    if kept is not None:
        return kept
    try:
        return _built(task, opened, folder, key, None)
    except OSError:
        keep = TemporaryFolder()
    try:
        return _built(task, opened, keep.path, key, keep)
    except OSError as error:
        raise DataError(f"{source}: no room to keep the examples: {error}; set MANYHEADS_CACHE to a folder") from None


def _open(source: DataSource, task: type[Task[Any]], split: str) -> Opened:
    if isinstance(source, Hub):
        return open_hub(source, task, split)
    if isinstance(source, PythonSource):
        return open_python_rows(source, task)
    return open_saved_dataset(source, task, split) if isinstance(source, SavedDataset) else open_files(source, task)


def _built(
    task: Task[ExampleT], opened: Opened, folder: Path, key: str, keep: TemporaryFolder | None
) -> tuple[ExampleTable[ExampleT], ReadReport]:
    """Write and open a table. Raises OSError if the folder cannot be written, or loses the file at once."""

    def fill(write: Callable[[Any], object]) -> ReadReport:
        read = _read(task, opened, lambda rows: write(record_batch(rows)))
        return replace(read, formats=opened.formats)

    path, report = store(folder, key, fill)
    return open_table(task, path, keep), report


def _read(task: Task[Any], opened: Opened, write: Callable[[list[tuple[Any, ...]]], object]) -> ReadReport:
    """Read every row with the task. Raises DataError with the first MOST_ERRORS rows that it refuses."""
    read = used = size = 0
    skipped: dict[str, Skipped] = {}
    notes: dict[str, Skipped] = {}
    left_out: dict[str, Skipped] = {}
    statistics, places, tags = RunningStatistics(), {}, TagSchemeCheck()
    errors: list[str] = []
    offered: dict[str, None] = {}
    waiting: list[tuple[Any, ...]] = []
    for raw, count in own_rows(task, _until_broken(opened.rows(), errors), errors):
        read += count
        values = raw.values
        if raw.skip is not None:
            count_row(skipped, raw.skip, raw.where)
            continue
        try:
            text = row_json(values)
            example = task.read(values)
        except RowError as error:
            found = placed_errors(values, raw.where, raw.lines, error=error, use=task.read)
            errors += [f"{place}: {_with_column(text, opened.columns)}" for place, text in found]
            if len(errors) > MOST_ERRORS:
                break
            continue
        if errors:
            continue
        for label in statistics.add(task.collect(example)):
            places[label] = raw.where
        if isinstance(labels := values.get("labels"), Mapping) and len(offered) < MOST_OFFERED:
            offered |= dict.fromkeys(map(str, labels))
        tags.add(values, raw.where, raw.lines)
        _count(raw, notes, left_out)
        waiting.append((text, raw.where, _short(task.cluster(example)), raw.lines, texts_digest(task, example)))
        used += 1
        size += len(text)
        if len(waiting) >= BATCH_ROWS or size >= BATCH_BYTES:
            write(waiting)
            waiting, size = [], 0
    refuse(errors)
    if waiting:
        write(waiting)
    if not used:
        first = next(iter(skipped.values())).where
        reasons = "; ".join(f"{reason}: {skip.count}, the first at {skip.where}" for reason, skip in skipped.items())
        raise DataError(f"{first}: none of {read} rows can be used for task '{task.name}' ({reasons})")
    return ReadReport(
        read, used, skipped, statistics.total(), places, notes | tags.notes(), left_out=left_out, offered=tuple(offered)
    )


def _with_column(message: str, columns: Mapped) -> str:
    """A message about one of our columns, with the name that the data has for it.

    >>> _with_column("'label' is empty", {"label": "queue"})
    "'label' (column 'queue') is empty"
    """
    ours, theirs = next(((ours, theirs) for ours, theirs in columns.items() if message.startswith(f"'{ours}' ")), ("", ""))
    return f"'{ours}' (column {theirs!r}){message[len(ours) + 2 :]}" if ours else message


def _count(raw: RawRow, notes: dict[str, Skipped], left_out: dict[str, Skipped]) -> None:
    """Count the notes of a used row, and what is left out of it."""
    for note in raw.notes:
        count_row(notes, note, raw.where)
    for part in raw.left_out:
        count_row(left_out, part.what, part.where)


def _until_broken(rows: Iterable[RawRow], errors: list[str]) -> Iterator[RawRow]:
    """The rows, up to a defect of the file itself, which is added to the errors."""
    try:
        yield from rows
    except DataError as error:
        errors.append(str(error))


def _short(cluster: str) -> str:
    """The cluster, hashed if it is long (a context): it only needs to differ from others."""
    return cluster if len(cluster) <= 64 else hashlib.sha256(cluster.encode()).hexdigest()[:32]
