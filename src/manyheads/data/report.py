"""What reading a split has to tell: a report where it went well, the bad rows with their places where it did not.

Decided here: reading goes on after a row that cannot be used, to tell of twenty at once; then all of it is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from manyheads.errors import DataError, RowError
from manyheads.tasks.base import DataStatistics, Moments, together

MOST_ERRORS = 20
"""Bad rows that one DataError tells of; enough to see a pattern, few enough to read."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Rows, or parts of them, of which one thing is to be said, such as why they were not used."""

    count: int
    where: str
    """The first of them."""


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What became of the rows of one split."""

    rows: int
    used: int
    skipped: Mapping[str, Skipped] = field(default_factory=dict)
    """By reason."""
    statistics: DataStatistics = field(default_factory=DataStatistics)
    places: Mapping[str, str] = field(default_factory=dict)
    """Where each label is first seen."""
    notes: Mapping[str, Skipped] = field(default_factory=dict)
    """What was decided in reading, with the count of rows and the first of them (`RawRow.notes`)."""
    told: tuple[str, ...] = ()
    """Sentences on the whole split."""
    left_out: Mapping[str, Skipped] = field(default_factory=dict)
    """What used rows say besides that the task cannot hold, by kind."""
    formats: tuple[str, ...] = ()
    """Of the files."""

    @property
    def warnings(self) -> list[str]:
        """All that is to be said, as sentences."""
        return [*self.told, *(
            f"{note.where}: {text}" if note.count == 1 else f"{note.count:,} rows, the first at {note.where}: {text}"
            for text, note in self.notes.items()
        )]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The report as JSON, for `from_json`."""
        return {
            "rows": self.rows,
            "used": self.used,
            "skipped": {reason: [skip.count, skip.where] for reason, skip in self.skipped.items()},
            "labels": dict(self.statistics.labels),
            "flags": sorted(self.statistics.flags),
            "numbers": {name: list(astuple(moments)) for name, moments in self.statistics.numbers.items()},
            "places": dict(self.places),
            "told": list(self.told),
            "notes": {text: [note.count, note.where] for text, note in self.notes.items()},
            "left_out": {what: [part.count, part.where] for what, part in self.left_out.items()},
            "formats": list(self.formats),
        }

    @staticmethod
    def from_json(kept: Mapping[str, Any]) -> ReadReport:
        """The report again. Raises KeyError, TypeError or ValueError for JSON that is none."""
        skipped = {reason: Skipped(*skip) for reason, skip in kept["skipped"].items()}
        numbers = {name: Moments(*moments) for name, moments in kept["numbers"].items()}
        statistics = DataStatistics(kept["labels"], frozenset(kept["flags"]), numbers)
        notes = {text: Skipped(*note) for text, note in kept["notes"].items()}
        left_out = {what: Skipped(*part) for what, part in kept["left_out"].items()}
        told, formats = tuple(kept["told"]), tuple(kept["formats"])
        return ReadReport(kept["rows"], kept["used"], skipped, statistics, kept["places"], notes, told, left_out, formats)


def count_row(counts: dict[str, Skipped], text: str, where: str) -> None:
    """One more row, or part of one, of which this is to be said."""
    before = counts.get(text, Skipped(0, where))
    counts[text] = Skipped(before.count + 1, before.where)


class Tally:
    """Sum of many facts. Adding them one by one would copy all counts each time."""

    def __init__(self) -> None:
        self._labels: Counter[str] = Counter()
        self._flags: frozenset[str] = frozenset()
        self._numbers: dict[str, Moments] = {}

    def add(self, statistics: DataStatistics) -> list[str]:
        """Counts added, flags united; gives the labels not seen before."""
        new = [label for label in statistics.labels if label not in self._labels]
        self._labels.update(statistics.labels)
        if not statistics.flags <= self._flags:
            self._flags |= statistics.flags
        if statistics.numbers:
            self._numbers = together(self._numbers, statistics.numbers)
        return new

    def total(self) -> DataStatistics:
        """The sum so far."""
        return DataStatistics(dict(self._labels), self._flags, self._numbers)


def refuse(errors: Sequence[str]) -> None:
    """Raise DataError telling of these, MOST_ERRORS at most; nothing when there are none."""
    if len(errors) > MOST_ERRORS:
        errors = [*errors[:MOST_ERRORS], f"there are more; reading stopped after {MOST_ERRORS}"]
    if errors:
        raise DataError("\n".join(errors))


def exact_place(row: dict[str, Any], where: str, lines: int, use: Callable[[dict[str, Any]], object]) -> str:
    """`where`; for a refused row with a line a word, the line of the first word that `use` refuses on its own."""
    path, _, first = where.rpartition(":")
    for k in range(lines if lines > 1 else 0):
        try:
            use({**row, **{key: row[key][k : k + 1] for key in ("tokens", "tags", "space_after") if row.get(key)}})
        except RowError:
            return f"{path}:{int(first) + k}"
    return where
