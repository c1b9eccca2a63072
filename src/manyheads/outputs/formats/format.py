"""What an output format is: what it holds, and how documents are written in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from manyheads.outputs.documents import Document
from manyheads.outputs.losses import Losses, fitted
from manyheads.tasks.answers import AnswerForm


@dataclass(frozen=True, slots=True)
class Writing:
    """What formats are told besides the documents."""

    losses: Losses
    labels: Callable[[], Sequence[str]] = tuple
    """All labels that a text can have, for formats that list them."""
    source: str = ""
    """Where the annotations come from: the name of a model or file."""


Encode = Callable[[Iterable[Document], Writing], Iterator[bytes]]
"""Documents as the content of one file, in blocks."""
Files = Callable[[Iterable[Document], Writing], Iterator[tuple[str, bytes]]]
"""Documents as the files of a folder: paths in it, and contents."""


@dataclass(frozen=True, slots=True)
class WriteFormat:
    """An output format of annotated texts."""

    name: str
    """The value of `--to`."""
    title: str
    """For messages."""
    forms: tuple[AnswerForm, ...]
    """The forms of annotations that it holds."""
    holds: frozenset[str]
    """What it holds besides texts, annotations and their labels: names in `losses.py`."""
    encode: Encode | None = None
    files: Files | None = None
    """In place of `encode`, for a format of several files."""
    endings: tuple[str, ...] = ()
    """File names that choose it without `--to`."""
    together: bool = False
    """Whether a text can have both spans and labels."""
    binary: bool = False
    """Whether it cannot be printed."""

    def documents(self, documents: Iterable[Document], writing: Writing) -> Iterator[Document]:
        """The documents without what the format cannot hold, which is counted."""
        return (fitted(document, self.holds, writing.losses) for document in documents)


def line(value: Any) -> bytes:
    """A value as a line of JSON."""
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8")


def lines(values: Iterable[Any]) -> Iterator[bytes]:
    """JSON lines."""
    return map(line, values)


def array(values: Iterable[Any]) -> Iterator[bytes]:
    """One JSON array, an item per line."""
    before = b"[\n"
    for value in values:
        yield before + line(value).rstrip(b"\n")
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def present(**values: Any) -> dict[str, Any]:
    """The values that are not None.

    >>> present(id=None, text="")
    {'text': ''}
    """
    return {key: value for key, value in values.items() if value is not None}
