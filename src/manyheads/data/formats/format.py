"""What a format is: how it is told from others, and how its rows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.data.formats.head import Head
from manyheads.data.formats.rows import RawRow, with_answers

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

Columns = tuple[str, ...]

MARKED: tuple[Columns, ...] = (("text", "entities"),)
"""Texts with spans."""
IN_WORDS: tuple[Columns, ...] = (("tokens", "tags"),)
"""Words with tags."""
MARKED_OR_LABELLED: tuple[Columns, ...] = (*MARKED, ("text", "label"), ("text", "labels"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What rows are read for."""

    kind: str
    """Of the task, or of whatever else the rows are for; for messages."""
    columns: tuple[Columns, ...] = ()
    """The sets of columns of which a row has one, as the task says. Empty: rows are taken as they are."""
    names: tuple[str, ...] = ()
    """Of the classes that a file has as numbers, in their order."""
    split: str = "train"
    """Of a folder that holds several."""

    @staticmethod
    def by(task: type[Task[Any]], names: tuple[str, ...] = (), split: str = "train") -> Wanted:
        """What tasks of this type read."""
        return Wanted(task.kind, task.columns, names, split)

    def wants(self, *columns: str) -> bool:
        """Whether one of these columns can be in a row."""
        return any(column in wanted for wanted in self.columns for column in columns)

    def lacking(self, names: Sequence[str]) -> str | None:
        """The sets of columns of which none is there whole, in words for a message; None when nothing is wanting."""
        if not self.columns or any(set(columns) <= set(names) for columns in self.columns):
            return None
        return " or ".join(", ".join(columns) for columns in self.columns)

    def normalised(self, values: dict[str, Any]) -> dict[str, Any]:
        """The row with its answers in one form, where answers are wanted."""
        return with_answers(values) if self.wants("answers") else values


@dataclass(frozen=True, slots=True)
class Format:
    """A format that files come in."""

    name: str
    """As the key `format` of a data source has it."""
    title: str
    """As a report says it."""
    gives: tuple[Columns, ...]
    """The sets of columns of its rows. Empty: any columns."""
    looks_like: Callable[[Head], bool]
    """Whether a file is surely of this format. A format that is told by the name of its files says no."""
    read: Callable[[Path, Wanted], Iterator[RawRow]]
    """Raises DataError, with the place, for the first defect."""
    lacks: frozenset[str] = frozenset()
    """Columns that it has no place for."""
    wins_over_own_rows: bool = False
    """Whether a file is of this format even where its rows are of our own form as well."""
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,)
    """All files that the rows of a path come from."""

    def serves(self, columns: Sequence[Columns]) -> bool:
        """Whether its rows have one of these sets of columns."""
        return any(
            self.lacks.isdisjoint(wanted) and (not self.gives or any(set(wanted) <= set(given) for given in self.gives))
            for wanted in columns
        )

    def fits(self, wanted: Wanted) -> bool:
        """Whether it holds rows for whoever wants these."""
        return not wanted.columns or self.serves(wanted.columns)
