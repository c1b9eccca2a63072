"""Rows as their task reads them: entries under `targets` as rows of their own, and rows of one document as one row.

A row with a problem is reported with its own place, before it becomes part of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from manyheads.data.formats.rows import RawRow
from manyheads.data.formats.standoff import whole_row
from manyheads.data.report import MOST_ERRORS
from manyheads.errors import RowError
from manyheads.tasks.base import Task


def own_rows(task: Task[Any], rows: Iterable[RawRow], errors: list[str]) -> Iterator[tuple[RawRow, int]]:
    """The task's rows, each with the number of rows of the data that it is made of.

    Problems are added to `errors`, after MOST_ERRORS of which reading ends.
    """
    part: list[RawRow] = []
    current: str | None = None
    for given in rows:
        if given.error is not None:
            errors.append(given.error)
            if len(errors) > MOST_ERRORS:
                return
            continue
        raw = whole_row(given, relations=False) if task.reads_overlaps else given
        try:
            own = raw if raw.skip is not None or isinstance(raw.values.get("targets"), str | None) else _of_target(task, raw)
            document = None if own.skip is not None else task.document_of(own.values)
        except RowError as error:
            errors.append(f"{raw.where}: {error}")
            if len(errors) > MOST_ERRORS:
                return
            continue
        if own.skip is not None:  # its neighbours are still one document
            yield own, 1
            continue
        if part and document != current:
            yield _joined(task, part), len(part)
            part = []
        if document is None:
            yield own, 1
        else:
            current = document
            part.append(own)
    if part:
        yield _joined(task, part), len(part)


def _of_target(task: Task[Any], raw: RawRow) -> RawRow:
    """The task's own row of a row with `targets`, skipped if there is none for the task. Raises RowError."""
    targets = raw.values["targets"]
    if not isinstance(targets, Mapping):
        raise RowError(f"'targets' must be an object with a key for each task, seen {targets!r}")
    target = targets.get(task.name)
    if target is None:
        return replace(raw, values={}, skip=f"no target '{task.name}'")
    return replace(raw, values=dict(task.row_of_target(raw.values, target)))


def _joined(task: Task[Any], rows: Sequence[RawRow]) -> RawRow:
    """The rows of a document as one, which has a line for each if they follow one another in their file."""
    first = rows[0]
    path, _, line = first.where.rpartition(":")
    places = [f"{path}:{int(line) + k}" for k in range(len(rows))] if line.isdecimal() else []
    return replace(
        first,
        values=dict(task.joined_rows([row.values for row in rows])),
        lines=len(rows) if places == [row.where for row in rows] else 1,
        notes=tuple(dict.fromkeys(note for row in rows for note in row.notes)),
        left_out=tuple(part for row in rows for part in row.left_out),
    )
