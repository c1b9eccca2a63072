"""What a data source is for: its beginning is read with every task type, and the best reading is chosen.

A reading is better the surer its columns are, the more of them it uses, and the better its labels or numbers suit the type
(`Task.suitability`). A few bad rows do not rule a reading out: they are mistakes, which validation reports with their places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from manyheads.data.column_guess import MOST_ROWS, ColumnGuess, Mapped, Sample, guess_all_columns, sample_of
from manyheads.data.formats.chats import chat_in
from manyheads.data.formats.csv import numbered_columns
from manyheads.data.formats.detection import known_types
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.literals import guessed
from manyheads.data.formats.rows import RawRow
from manyheads.data.readers import format_of, read_rows
from manyheads.data.report import RunningStatistics
from manyheads.data.saved_datasets import SavedDataset, is_saved_dataset, open_saved_dataset
from manyheads.errors import DataError, OtherFormatError, RowError
from manyheads.init.further import all_labels
from manyheads.init.sources import Source
from manyheads.tasks.base import Task
from manyheads.tasks.statistics import DataStatistics

BEGINNING = 2000
"""Rows read of each source."""
LEAST_SCORE = 0.4
"""Mean score of the columns of a proposed mapping. Columns without names whose values fit perfectly have 0.5."""
PER_COLUMN = 0.2
"""What a further column counts."""
LEAST_USED = 0.5
"""Share of the rows that a reading must be able to use."""
MOST_BAD = 0.05
"""Share of the rows that may be bad. They count against a reading, so that one without bad rows is preferred."""
LEAST_WORDS = 0.3
"""Share of the tokens with a letter, below which they are no words."""
LONGEST_ALONE = 30
"""Words of the only sentence of a file; a longer one has no empty line between sentences, so it is another kind of table."""
TARGETS = "targets"


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a source."""

    kind: str
    """The task type."""
    rank: float
    columns: Mapped
    """Our column: theirs, where they differ."""
    statistics: DataStatistics
    """Of the rows that were read."""
    rows: int
    title: str
    """Of the format."""
    guess: ColumnGuess | None = None
    """The mapping, if it is a guess."""

    @property
    def labels(self) -> set[str]:
        """The labels seen."""
        return set(self.statistics.labels)


@dataclass(frozen=True, slots=True)
class Recognised:
    """A source with its readings, the best first."""

    source: Source
    readings: list[Reading]
    target: str | None = None
    """The task's name in rows with the labels of several tasks, or the column of a further task."""
    further: bool = False
    """Whether the labels are in a column beside those of the source's first task."""

    def reading(self, kind: str) -> Reading | None:
        """The reading by a task type."""
        return next((reading for reading in self.readings if reading.kind == kind), None)


@dataclass(slots=True)
class _Raw:
    """The columns of a source under their own names."""

    sample: Sample = field(default_factory=dict)
    numbered: bool = False
    """Whether the columns have numbers, because there is no header."""
    error: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    title: str = ""
    """Of the format that has these columns."""

    def without(self, taken: Collection[str]) -> _Raw:
        """The same without some columns."""
        left = {name: values for name, values in self.sample.items() if name not in taken}
        return _Raw(left, self.numbered, title=self.title)


def recognise(source: Source) -> list[Recognised]:
    """The source, once for each task whose labels its rows have. Raises DataError, with the reason, if there is none."""
    raw = _raw(source)
    targets = [row for row in raw.sample.get(TARGETS, ()) if isinstance(row, Mapping)]
    if targets:
        names = dict.fromkeys(name for row in targets for name in row)
        found = [Recognised(source, _ranked(_target_readings(source, name, targets)), name) for name in names]
        found = [one for one in found if one.readings]
    else:
        readings = _ranked(_all_readings(source, raw))
        found = _by_labels(source, readings, raw) if readings else []
    if not found:
        raise DataError(_reason(source, raw))
    return found


def _by_labels(source: Source, readings: list[Reading], raw: _Raw) -> list[Recognised]:
    """The source once for each kind of labels."""
    (_, first), *others = all_labels(readings, raw.rows, lambda taken: _all_readings(source, raw.without(taken)))
    whole = readings if first is readings[0] else [first]
    return [Recognised(source, whole), *(Recognised(source, [one], name, further=True) for name, one in others)]


def _ranked(readings: Iterable[Reading]) -> list[Reading]:
    """The best reading of each type, the best first; the order of types decides between equals."""
    best: dict[str, Reading] = {}
    for reading in readings:
        if reading.kind not in best or reading.rank > best[reading.kind].rank:
            best[reading.kind] = reading
    return sorted(best.values(), key=lambda reading: -reading.rank)


def _raw(source: Source) -> _Raw:
    try:
        numbers: list[str] = []
        if source.path.is_file() and not is_saved_dataset(source.path):
            form = format_of(source.path, RowSchema(_AnyRow.kind))
            numbers = numbered_columns(source.path, tabs=form.name == "tsv") if form.name in ("csv", "tsv") else []
        found, title = _rows(source, {number: number for number in numbers})
        rows = [row.values for row in islice(found, MOST_ROWS)]
    except DataError as error:
        return _Raw(error=str(error))
    sample = sample_of({name: guessed(value) for name, value in row.items()} for row in rows)
    return _Raw(sample, bool(numbers), rows=rows, title=title)


class _AnyRow:
    """A task type that expects no columns."""

    kind = "any"
    columns = optional_columns = ()


def _rows(source: Source, columns: Mapped, cls: Any = _AnyRow) -> tuple[Iterator[RawRow], str]:
    """The rows, and the title of their format."""
    if is_saved_dataset(source.path):
        opened = open_saved_dataset(SavedDataset(source.path, source.part, columns), cls, source.part or "train")
        return opened.rows(), opened.formats[0]
    schema = RowSchema.for_task(cls, columns=columns)
    form = format_of(source.path, schema)
    return read_rows(source.path, form, schema), form.title


def _all_readings(source: Source, raw: _Raw) -> Iterator[Reading]:
    return (reading for cls in known_types() for reading in _readings(source, cls, raw))


def _readings(source: Source, cls: type[Task[Any]], raw: _Raw) -> Iterator[Reading]:
    """The readings by one type: with the columns as they are named, and with each mapping that is likely."""
    own = [columns for columns in cls.columns if set(columns) <= set(raw.sample)]
    optional = sum(name in raw.sample for name in cls.optional_columns)
    count = len(own[0]) + optional if own else max(map(len, cls.columns), default=1)
    with suppress(DataError, RowError, TypeError):
        yield (exact := _reading(source, cls, None, 1.0 + PER_COLUMN * count))
        if exact.title != raw.title:  # an export of doccano needs no mapping, though its JSON lines could be read with one
            return
    known = {name: values for name, values in raw.sample.items() if raw.numbered or not name.isdecimal()}
    for columns in cls.columns if known else ():
        guess = guess_all_columns(columns, cls.optional_columns, known)
        if guess is not None and guess.renames and guess.score >= LEAST_SCORE:
            with suppress(DataError, RowError, TypeError):
                yield _reading(source, cls, guess, guess.score + PER_COLUMN * len(guess.columns))


def _reading(source: Source, cls: type[Task[Any]], guess: ColumnGuess | None, rank: float) -> Reading:
    """A reading of the beginning. Raises DataError or RowError for many bad rows, and if too few rows can be used."""
    columns = {} if guess is None else guess.renames
    rows, title = _rows(source, columns, cls)
    task = cls(name="task")
    beginning = [row.values if row.skip is None else None for row in islice(rows, BEGINNING)]
    statistics, bad = _collect(task, beginning)
    return Reading(cls.kind, rank + cls.suitability(statistics) - bad, columns, statistics, len(beginning), title, guess)


def _collect(task: Task[Any], beginning: Sequence[Mapping[str, Any] | None]) -> tuple[DataStatistics, float]:
    """Statistics of rows, and the share of bad ones. None stands for a row that is not used.

    Raises RowError if many rows are bad, and DataError if too few can be used.
    """
    statistics, used, bad = RunningStatistics(), 0, 0
    tokens = words = 0
    for values in beginning:
        if values is None:
            continue
        if isinstance(found := values.get("tokens"), list):
            _check_words(found, values.get("tags"))
            tokens += len(found)
            words += sum(any(map(str.isalpha, str(token))) for token in found)
        try:
            statistics.add(task.collect(task.read(values)))
        except RowError:
            bad += 1
            if bad > MOST_BAD * len(beginning):
                raise
            continue
        used += 1
    alone = len(beginning) == 1 and tokens > LONGEST_ALONE
    if used < LEAST_USED * len(beginning) or not used or words < LEAST_WORDS * tokens or alone:
        raise DataError("too few rows can be used")
    return statistics.total(), bad / len(beginning)


def _check_words(tokens: list[Any], tags: Any) -> None:
    """Raise RowError for whole sentences in place of words or tags."""
    if any(sum(str(one).count(" ") for one in some) > len(some) for some in (tokens, tags or ())):
        raise RowError("has sentences for tokens")


def _target_readings(source: Source, name: str, targets: list[Mapping[str, Any]]) -> Iterator[Reading]:
    """The readings of one task of rows with the labels of several."""
    entries = [row[name] for row in targets if row.get(name) is not None]
    for cls in known_types():
        told = {cls.matches_entry(entry) for entry in entries}
        if not entries or False in told:
            continue
        with suppress(DataError, RowError, TypeError, ValueError):
            task = cls(name=name)
            rows, title = _rows(source, {}, cls)
            own = [values for row in islice(rows, BEGINNING) if (values := _own_row(task, row)) is not None]
            statistics, bad = _collect(task, own)
            rank = cls.suitability(statistics) - bad + (1.0 if told == {True} else 0.5)
            yield Reading(cls.kind, rank, {}, statistics, len(own), title)


def _own_row(task: Task[Any], row: RawRow) -> Mapping[str, Any] | None:
    target = (row.values.get(TARGETS) or {}).get(task.name)
    return None if target is None else task.row_of_target(row.values, target)


def _reason(source: Source, raw: _Raw) -> str:
    """Why no type reads a source."""
    if raw.sample:
        if (chat := chat_in(raw.sample)) is not None:
            return f"it has {chat}"
        names = ", ".join(list(raw.sample)[:20])
        return f"its columns ({'numbered ' if raw.numbered else ''}{names[:300]}) fit no task type"
    for cls in known_types():
        try:
            next(_rows(source, {}, cls)[0], None)
        except OtherFormatError:
            continue
        except DataError as error:
            return str(error).splitlines()[0]
    return raw.error.splitlines()[0] if raw.error else "it holds no labelled rows of a known form"
