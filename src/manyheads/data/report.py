"""The result of reading a split: a report, or an error that lists the bad rows with their places.

Reading continues after a bad row, to report up to twenty at once; then the split is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from manyheads.errors import DataError, RowError
from manyheads.tasks.statistics import DataStatistics, Moments, add_moments

OF_LINES = ("tokens", "tags", "space_after", "sentences", "labels")
"""Columns with a value for each line of a row of several."""
MOST_ERRORS = 20
"""Bad rows listed in one DataError; enough to see a pattern, few enough to read."""

MOST_OFFERED = 10_000


@dataclass(frozen=True, slots=True)
class Skipped:
    """Rows, or parts of rows, with one thing in common, such as the reason why they were not used."""

    count: int
    where: str
    """The first of them."""


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What was read of one split."""

    rows: int
    used: int
    skipped: Mapping[str, Skipped] = field(default_factory=dict)
    """By reason."""
    statistics: DataStatistics = field(default_factory=DataStatistics)
    places: Mapping[str, str] = field(default_factory=dict)
    """The first place of each label."""
    notes: Mapping[str, Skipped] = field(default_factory=dict)
    """Assumptions made in reading (`RawRow.notes`)."""
    told: tuple[str, ...] = ()
    """Warnings about the split as a whole."""
    left_out: Mapping[str, Skipped] = field(default_factory=dict)
    """Parts of used rows that the task has no place for, by kind."""
    formats: tuple[str, ...] = ()
    """Titles of the files' formats."""
    offered: tuple[str, ...] = ()
    """Labels that rows name with a truth value each, whether a row has them or not; up to MOST_OFFERED."""

    @property
    def warnings(self) -> list[str]:
        """All warnings, as sentences."""
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
            "offered": list(self.offered),
        }

    @staticmethod
    def from_json(kept: Mapping[str, Any]) -> ReadReport:
        """The report from its JSON. Raises KeyError, TypeError or ValueError for anything else."""
        skipped = {reason: Skipped(*skip) for reason, skip in kept["skipped"].items()}
        numbers = {name: Moments(*moments) for name, moments in kept["numbers"].items()}
        statistics = DataStatistics(kept["labels"], frozenset(kept["flags"]), numbers)
        notes = {text: Skipped(*note) for text, note in kept["notes"].items()}
        left_out = {what: Skipped(*part) for what, part in kept["left_out"].items()}
        told, formats, offered = (tuple(kept[key]) for key in ("told", "formats", "offered"))
        return ReadReport(
            kept["rows"], kept["used"], skipped, statistics, kept["places"], notes, told, left_out, formats, offered
        )


def count_row(counts: dict[str, Skipped], text: str, where: str) -> None:
    """Count one more row, or part of one, under a text."""
    before = counts.get(text, Skipped(0, where))
    counts[text] = Skipped(before.count + 1, before.where)


class RunningStatistics:
    """The sum of the statistics of many examples, updated in place."""

    def __init__(self) -> None:
        self._labels: Counter[str] = Counter()
        self._flags: frozenset[str] = frozenset()
        self._numbers: dict[str, Moments] = {}

    def add(self, statistics: DataStatistics) -> list[str]:
        """Add the statistics of an example; returns its labels not seen before."""
        new = [label for label in statistics.labels if label not in self._labels]
        self._labels.update(statistics.labels)
        if not statistics.flags <= self._flags:
            self._flags |= statistics.flags
        if statistics.numbers:
            self._numbers = add_moments(self._numbers, statistics.numbers)
        return new

    def total(self) -> DataStatistics:
        """The sum so far."""
        return DataStatistics(dict(self._labels), self._flags, self._numbers)


def refuse(errors: Sequence[str]) -> None:
    """Raise DataError with up to MOST_ERRORS errors, if there are any."""
    if len(errors) > MOST_ERRORS:
        errors = [*errors[:MOST_ERRORS], f"there are more; reading stopped after {MOST_ERRORS}"]
    if errors:
        raise DataError("\n".join(errors))


def placed_errors(
    row: dict[str, Any], where: str, lines: int, *, error: RowError, use: Callable[[dict[str, Any]], object]
) -> list[tuple[str, str]]:
    """The error of a refused row, with its place.

    If each word or sentence has its own line: those of all that `use` refuses alone, up to one more than MOST_ERRORS.
    """
    path, _, first = where.rpartition(":")
    found: list[tuple[str, str]] = []
    for k in range(lines if lines > 1 else 0):
        try:
            use({**row, **{key: row[key][k : k + 1] for key in OF_LINES if row.get(key)}})
        except RowError as one:
            found.append((f"{path}:{int(first) + k}", str(one) if found else str(error)))
        if len(found) > MOST_ERRORS:
            break
    return found or [(where, str(error))]
