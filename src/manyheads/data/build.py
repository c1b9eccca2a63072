"""Rows of files and of the hub into tables: every row through its task once, and what is bad told with its place.

What `Task.read`, `row_of_target`, `collect`, `cluster` and the texts of `sources_of_example` return depends on no
setting of the task, so a table serves every run with a task of that type and name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from manyheads.data.cache import TemporaryFolder, cache_folder, find, store, table_key
from manyheads.data.formats.rows import RawRow
from manyheads.data.hub import Hub, open_hub
from manyheads.data.readers import Files, Opened, open_files
from manyheads.data.report import MOST_ERRORS, ReadReport, Skipped, Tally, count_row, exact_place, refuse
from manyheads.data.saved import Saved, open_saved
from manyheads.data.table import SCHEMA, ExampleT, ExampleTable, open_table, texts_digest
from manyheads.data.tags import TagWatch
from manyheads.errors import DataError, RowError
from manyheads.tasks.base import Task

DataSource = Files | Hub | Saved

BATCH_ROWS = 4096
BATCH_BYTES = 4_000_000
"""Rows are written when there are this many, or they are this large: what building a table holds in memory."""


def build_table(
    task: Task[ExampleT], source: DataSource, split: str, *, cache: Path | None = None
) -> tuple[ExampleTable[ExampleT], ReadReport]:
    """The examples of a task in a data source, from the cache if they were read before.

    `split` (train, validation, test) is what a hub data set is asked for unless it names one itself. `cache` defaults
    to `cache_folder()`; where it cannot be used, a temporary folder takes its place. Raises DataError, with up to
    MOST_ERRORS lines of `place: message`, for bad rows, and when no row can be used.
    """
    opened = _opened(source, type(task), split)
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


def _opened(source: DataSource, task: type[Task[Any]], split: str) -> Opened:
    if isinstance(source, Hub):
        return open_hub(source, task, split)
    return open_saved(source, task, split) if isinstance(source, Saved) else open_files(source, task, split)


def _built(
    task: Task[ExampleT], opened: Opened, folder: Path, key: str, keep: TemporaryFolder | None
) -> tuple[ExampleTable[ExampleT], ReadReport]:
    """A table written and opened. Raises OSError where the folder cannot be written, or loses the file at once."""

    def fill(write: Callable[[Any], object]) -> ReadReport:
        read = _read(task, opened.rows(), lambda rows: write(_batch(rows)))
        return replace(read, formats=opened.formats)

    path, report = store(folder, key, fill)
    return open_table(task, path, keep), report


def _read(task: Task[Any], rows: Iterable[RawRow], write: Callable[[list[tuple[Any, ...]]], object]) -> ReadReport:
    """Every row through the task. Raises DataError telling of the first MOST_ERRORS that it refuses."""
    read = used = size = 0
    skipped: dict[str, Skipped] = {}
    notes: dict[str, Skipped] = {}
    left_out: dict[str, Skipped] = {}
    statistics, places, tags = Tally(), {}, TagWatch()
    errors: list[str] = []
    waiting: list[tuple[Any, ...]] = []
    for raw in _until_broken(rows, errors):
        read += 1
        values, reason = raw.values, raw.skip
        try:
            if reason is None and not isinstance(values.get("targets"), str | None):
                values, reason = _target(task, values)
            if reason is not None:
                count_row(skipped, reason, raw.where)
                continue
            text = _text(values)
            example = task.read(values)
        except RowError as error:
            errors.append(f"{exact_place(values, raw.where, raw.lines, task.read)}: {error}")
            if len(errors) > MOST_ERRORS:
                break
            continue
        if errors:
            continue
        for label in statistics.add(task.collect(example)):
            places[label] = raw.where
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
    return ReadReport(read, used, skipped, statistics.total(), places, notes | tags.notes(), left_out=left_out)


def _count(raw: RawRow, notes: dict[str, Skipped], left_out: dict[str, Skipped]) -> None:
    """What a reader says of a row that is used."""
    for note in raw.notes:
        count_row(notes, note, raw.where)
    for part in raw.left_out:
        count_row(left_out, part.what, part.where)


def _until_broken(rows: Iterable[RawRow], errors: list[str]) -> Iterator[RawRow]:
    """The rows; a defect of the file itself ends them and joins the errors of the rows before it."""
    try:
        yield from rows
    except DataError as error:
        errors.append(str(error))


def _target(task: Task[Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The task's own row, or why there is none. A string is a csv column of that name, and is left alone."""
    targets = values["targets"]
    if not isinstance(targets, Mapping):
        raise RowError(f"'targets' must be an object with a key for each task, seen {targets!r}")
    target = targets.get(task.name)
    if target is None:
        return {}, f"no target '{task.name}'"
    return dict(task.row_of_target(values, target)), None


def _batch(rows: list[tuple[Any, ...]]) -> Any:
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(cells, kind) for cells, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)


def _text(values: Mapping[str, Any]) -> bytes:
    """The row as JSON. Raises RowError for half a surrogate pair, which JSON escapes can smuggle into a text."""
    try:
        return json.dumps(values, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise RowError(f"holds {half}, half of a surrogate pair, which is no character; mend the text") from None


def _short(cluster: str) -> str:
    """A context that names a cluster is long, and only needs to differ from the others."""
    return cluster if len(cluster) <= 64 else hashlib.sha256(cluster.encode()).hexdigest()[:32]
