"""Rows of files with their places; matching gold with predictions; selecting one task from rows of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import DataError
from manyheads.text.values import is_missing

if TYPE_CHECKING:
    from manyheads.tasks.base import Task


@dataclass(frozen=True, slots=True)
class FileScores:
    """The result of scoring a file."""

    metrics: dict[str, float]
    """Fractions by name."""
    notes: list[str]
    """Sentences for the reader: what was counted, how rows were matched, what was missing."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of a file and its place.

    >>> FileRow({"id": 7.0}, "answers.csv", line=3).where()
    'answers.csv:3'
    """

    values: dict[str, Any]
    place: str
    """The path, or the whole place where `line` is 0."""
    line: int = 0
    missing: str | None = None
    """Why the row has nothing for the task: it has an `error`, or no entry."""
    entries: Mapping[str, Any] = field(default_factory=dict)
    """The task's entries under `tasks` and `targets`, as in the file; `values` has them as columns."""

    def where(self, offset: int = 0) -> str:
        """`path:line`, for word `offset` of CoNLL columns."""
        return f"{self.place}:{self.line + offset}" if self.line else self.place

    @property
    def failed(self) -> bool:
        """Whether it holds the `error` of a row that a model could not read."""
        return isinstance(self.values.get("error"), Mapping)

    @property
    def id(self) -> str | None:
        """The id as a string, so that 7 in JSON equals 7 in csv."""
        value = self.values.get("id")
        if is_missing(value):
            return None
        if isinstance(value, float) and value.is_integer():  # pandas writes 7 as 7.0 where some ids are missing
            return str(int(value))
        return str(value).strip()


Pairs = list[tuple[FileRow, FileRow]]


def all_have_ids(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> bool:
    """Whether rows can be matched by id."""
    return all(row.id is not None for rows in (golds, guesses) for row in rows)


def match_rows(golds: Sequence[FileRow], guesses: Sequence[FileRow], same: Sequence[str]) -> Pairs:
    """Gold rows that have a label, each with its prediction: by id, else in order, where columns `same` must be equal."""
    pairs: Pairs
    if all_have_ids(golds, guesses) and [row.id for row in golds] != [row.id for row in guesses]:
        given, wanted = by_id(guesses), by_id(golds)
        for rows, others, what in ((wanted, given, "prediction"), (given, wanted, "gold row")):
            if lost := [name for name in rows if name not in others]:
                raise DataError(f"{rows[lost[0]].where()}: id {lost[0]!r} has no {what}, nor have {len(lost) - 1} other ids; "
                                "both files must hold the same ids")  # fmt: skip
        pairs, same = [(row, given[name]) for name, row in wanted.items()], ()
    elif len(golds) != len(guesses):
        alone = max(golds, guesses, key=len)[min(len(golds), len(guesses))]
        raise DataError(f"{alone.where()} has no counterpart: there are {len(golds)} gold rows and {len(guesses)} "
                        "predicted rows; files without ids are matched by order, row by row")  # fmt: skip
    else:
        pairs = list(zip(golds, guesses, strict=True))
    for gold, guess in pairs:
        for key in same:
            one, other = gold.values.get(key), guess.values.get(key)
            if isinstance(one, str) and isinstance(other, str) and one != other:
                raise DataError(f"{guess.where()} has the {key} {other!r:.60} where {gold.where()} has {one!r:.60}; put "
                                "rows in the same order, or give both files ids")  # fmt: skip
        if guess.missing is not None and not guess.failed and gold.missing is None:
            raise DataError(f"{guess.where()} {guess.missing}")
    return [(gold, guess) for gold, guess in pairs if gold.missing is None]


def by_id(rows: Sequence[FileRow]) -> dict[str, FileRow]:
    """Rows by id. Raises DataError for a repeated id."""
    result: dict[str, FileRow] = {}
    for row in rows:
        first = result.setdefault(str(row.id), row)
        if first is not row:
            raise DataError(f"{row.where()}: id {row.id!r} is already used at {first.where()}; ids must be unique")
    return result


def rows_of_task(
    rows: Sequence[FileRow], path: Path, cls: type[Task[Any]], task: str | None, *, predicted: bool = False
) -> list[FileRow]:
    """Rows with the keys of one task, taken from `tasks` (predictions) or `targets` (gold).

    Predictions may carry the gold data they were made from (`predict --keep`), which is then ignored.
    """
    result = list(rows)
    answered = predicted and any("tasks" in row.values for row in result)
    for key in ("tasks",) if answered else ("tasks", "targets"):
        if any(key in row.values for row in result):
            name = _choose_task(result, path, key, cls, task)
            result = [_with_entry(row, key, name, cls) for row in result]
    return [replace(row, missing=f"has an error: {row.values['error']}") if row.failed else row for row in result]


def _choose_task(rows: Sequence[FileRow], path: Path, key: str, cls: type[Task[Any]], task: str | None) -> str:
    """The given task, or the only one whose entries are of this type."""
    fits: dict[str, set[bool | None]] = {}
    for row in rows:
        entries = row.values.get(key, {})
        if not isinstance(entries, Mapping):
            raise DataError(f"{row.where()}: '{key}' must be an object {{TASK: ...}}, seen {entries!r:.80}")
        for name, entry in entries.items():
            fits.setdefault(name, set()).add(cls.matches_entry(entry))
    names = ", ".join(fits) or "none"
    if task is not None:
        if task not in fits:
            raise DataError(f"{path} has no task '{task}'; its tasks are {names}")
        return task
    possible = [name for name, verdicts in fits.items() if False not in verdicts]
    found = [name for name in possible if True in fits[name]] or possible
    if len(found) != 1:
        several = f"several tasks that could be {cls.kind}: {', '.join(found)}"
        problem = several if found else f"no {cls.kind} task among {names}"
        raise DataError(f"{path} has {problem}; name one, or give a file with that task's rows")
    return found[0]


def _with_entry(row: FileRow, key: str, name: str, cls: type[Task[Any]]) -> FileRow:
    """The row as in a file of this task alone."""
    rest = {other: value for other, value in row.values.items() if other != key}
    if name not in row.values.get(key, {}):
        known = ", ".join(row.values.get(key, {})) or "none"
        return replace(row, values=rest, missing=f"has nothing for the task '{name}'; its tasks are {known}")
    entry = row.values[key][name]
    return replace(row, values={**rest, **cls.row_of_entry(row.values, entry)}, entries={**row.entries, key: entry})
