"""What a format is: how a file of it is recognised, and how its rows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.data.column_guess import Mapped
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow, with_answers
from manyheads.text.values import spans_of

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

Columns = tuple[str, ...]

SPANS: tuple[Columns, ...] = (("text", "entities", "relations"),)
"""Texts with spans, which may be related."""
TAGGED_WORDS: tuple[Columns, ...] = (("tokens", "tags"),)
SPANS_OR_LABELS: tuple[Columns, ...] = (*SPANS, ("text", "label"), ("text", "labels"))


@dataclass(frozen=True, slots=True)
class RowSchema:
    """The columns that a task, or another reader of rows, expects."""

    kind: str
    """Of the task, or of another use of the rows; for messages."""
    columns: tuple[Columns, ...] = ()
    """Sets of columns, of which a row has at least one. Empty: any row is accepted."""
    class_names: tuple[str, ...] = ()
    """Names of classes that the file stores as numbers, in their order."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Our column: that of the data, where they differ."""
    gathered: Mapping[str, Columns] = field(default_factory=dict)
    """Our column: those of the data whose values it holds by name."""
    optional: Columns = ()
    """Columns that a row may have besides."""

    @staticmethod
    def for_task(task: type[Task[Any]], class_names: tuple[str, ...] = (), columns: Mapped | None = None) -> RowSchema:
        """The columns that tasks of this type read."""
        given = (columns or {}).items()
        renames = {ours: theirs for ours, theirs in given if isinstance(theirs, str)}
        gathered = {ours: theirs for ours, theirs in given if not isinstance(theirs, str)}
        return RowSchema(task.kind, task.columns, class_names, renames, gathered, task.optional_columns)

    @property
    def named(self) -> list[tuple[str, str]]:
        """Our column and that of the data, for each column of the data that is named."""
        return [*self.renames.items(), *((ours, one) for ours, several in self.gathered.items() for one in several)]

    def has_any(self, *columns: str) -> bool:
        """Whether a row can have one of these columns."""
        return any(column in expected for expected in self.columns for column in columns)

    def missing(self, names: Sequence[str]) -> str | None:
        """The sets of columns to choose from, in words for a message; None if the names include one of them."""
        known = {*names, *self.gathered}
        if not self.columns or any(known.issuperset(columns) for columns in self.columns):
            return None
        return " or ".join(", ".join(columns) for columns in self.columns)

    def normalised(self, values: dict[str, Any]) -> dict[str, Any]:
        """The row with columns gathered, and with its spans and answers in one form, if they are read."""
        if self.gathered:
            kept = {key: value for key, value in values.items() if all(key not in some for some in self.gathered.values())}
            values = kept | {ours: {name: values.get(name) for name in some} for ours, some in self.gathered.items()}
        if "entities" in values and self.has_any("entities"):
            values = {**values, "entities": spans_of(values["entities"])}
        return with_answers(values) if self.has_any("answers") else values


@dataclass(frozen=True, slots=True)
class Format:
    """A file format."""

    name: str
    """The value of `format` in a data source."""
    title: str
    """For reports."""
    columns: tuple[Columns, ...]
    """The sets of columns of its rows. Empty: any columns."""
    looks_like: Callable[[Preview], bool]
    """Whether a file is certainly of this format. False for formats that are recognised by file name."""
    read: Callable[[Path, RowSchema], Iterator[RawRow]]
    """Raises DataError, with the place, for the first defect after which nothing can be read."""
    renames: bool = False
    """Whether its columns have names or numbers, so that `columns` of a data source applies."""
    wins_over_own_rows: bool = False
    """Whether a file is of this format even if its rows are also in our own form."""
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,)
    """All files that the rows of a path come from."""

    def holds(self, columns: Sequence[Columns]) -> bool:
        """Whether its rows have one of these sets of columns."""
        return not self.columns or any(set(wanted) <= set(given) for wanted in columns for given in self.columns)

    def fits(self, schema: RowSchema) -> bool:
        """Whether its rows can satisfy a schema."""
        return not schema.columns or self.holds(schema.columns)
