"""brat standoff: a folder with a text and an annotation file for each document.

    T1	Chemical 0 7	Aspirin
    T2	Disease 16 21;25 31	fever adults

Decided here:
- Files are named after the document, else the id, else numbered. Names are made safe, and different.
- Rows of one document are joined by line ends.
- A span is cut at line ends, as brat does: its annotation is one line. Reading joins its parts again.
- A label is one word: white space in it becomes `_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from manyheads.outputs.documents import Document, Interval, Span
from manyheads.outputs.formats.format import WriteFormat, Writing
from manyheads.outputs.formats.grouped import groups, joined
from manyheads.outputs.losses import GROUPS, IDS, OVERLAPS, PIECES

LONGEST_NAME = 80
"""Characters; most file systems allow 255 bytes."""
_UNSAFE = re.compile(r"[^\w.+-]|^\.+|\.+$")
_LINE_END = re.compile(r"[\r\n]+")
_SPACES = str.maketrans("\t\r\n", "   ")
_MARK = "\ufeff"
"""A byte order mark, which readers remove from the beginning of a file."""


def files(documents: Iterable[Document], writing: Writing) -> Iterator[tuple[str, bytes]]:
    """The two files of each document."""
    taken: set[str] = set()
    for number, group in enumerate(groups(documents), 1):
        document = joined(group, "\n", writing.losses)
        name = _name(document, number, taken, writing)
        mark = _MARK if document.text.startswith(_MARK) else ""
        yield f"{name}.txt", (mark + document.text).encode("utf-8")
        yield f"{name}.ann", "".join(_lines(document, writing)).encode("utf-8")


def _name(document: Document, number: int, taken: set[str], writing: Writing) -> str:
    wanted = document.key or f"{number:06}"
    *folders, last = wanted.split("/")
    parts = [*folders, last] if len(folders) == 1 else [wanted]
    name = "/".join(_UNSAFE.sub("_", part)[:LONGEST_NAME] or "_" for part in parts)
    free, again = name, 1
    while free.casefold() in taken:
        again += 1
        free = f"{name}-{again}"
    taken.add(free.casefold())
    if free != wanted:
        writing.losses.add("ids changed to file names", document.where)
    return free


def _lines(document: Document, writing: Writing) -> Iterator[str]:
    for number, span in enumerate(document.spans or (), 1):
        label = re.sub(r"\s+", "_", span.label)
        writing.losses.add("labels changed to one word", document.where, label != span.label)
        pieces = [piece for whole in span.pieces for piece in _without_line_ends(document.text, whole)]
        places = ";".join(f"{start} {end}" for start, end in pieces)
        quoted = Span(tuple(pieces), label).quoted(document.text).translate(_SPACES)
        yield f"T{number}\t{label} {places}\t{quoted}\n"


def _without_line_ends(text: str, piece: Interval) -> list[Interval]:
    """The piece, cut at the line ends inside of it; those at its edges stay."""
    start, end = piece
    solid = text[start:end].strip("\r\n")
    first = text.index(solid, start)
    parts, at = [], start
    for match in _LINE_END.finditer(text, first, first + len(solid)):
        parts.append((at, match.start()))
        at = match.end()
    return [*parts, (at, end)]


FORMAT = WriteFormat(
    "brat", "brat standoff", ("spans",), frozenset({IDS, GROUPS, PIECES, OVERLAPS}), files=files, endings=(".ann",)
)
