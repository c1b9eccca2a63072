"""What a format is: how it is told from others, and how its rows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from manyheads.data.formats.head import Head
from manyheads.data.formats.rows import RawRow


@dataclass(frozen=True, slots=True)
class Wanted:
    """What rows are read for."""

    kind: str
    """Of the task: token-classification, ..."""
    names: tuple[str, ...] = ()
    """Of the classes that a file has as numbers, in their order."""
    split: str = "train"
    """Of a folder that holds several."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format that files come in."""

    name: str
    """As the key `format` of a data source has it."""
    title: str
    """As a report says it."""
    kinds: frozenset[str]
    """The kinds of tasks for which it holds rows."""
    looks_like: Callable[[Head], bool]
    """Whether a file is surely of this format. A format that is told by the name of its files says no."""
    read: Callable[[Path, Wanted], Iterator[RawRow]]
    """Raises DataError, with the place, for the first defect."""
    wins_over_own_rows: bool = False
    """Whether a file is of this format even where its rows are of our own form as well."""
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,)
    """All files that the rows of a path come from."""
