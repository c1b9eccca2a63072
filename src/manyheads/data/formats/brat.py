"""brat standoff: a text file, and a file of the same name that ends in .ann with what is marked in it.

    T1	Chemical 0 7	Aspirin
    T2	Disease 16 21;25 31	fever adults
    R1	Causes Arg1:T1 Arg2:T2

Decided here: either file names the pair, a folder stands for all pairs in it and below. A document is a row. A text
without an annotation file is passed over and counted; an empty annotation file says that nothing is marked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.format import MARKED, Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.lines import lines, whole
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import RELATIONS, Interval, Marked, Mention, row_of
from manyheads.errors import DataError

MOST_BYTES = 64 << 20
"""Of a text."""
OTHERS = {"R": RELATIONS, "E": "events", "A": "attributes", "M": "attributes", "N": "identifiers of entities",
          "#": "notes", "*": "equivalences"}  # fmt: skip
"""What the other lines hold, by the first character of their name."""
_SPAN = re.compile(r"(\S+) (\d{1,12} \d{1,12}(?:;\d{1,12} \d{1,12})*)", re.ASCII)

LEVELS = ("", "*/")
"""Of a folder: its own files and those one folder below. A run file may name any folder, and `/` is not to be walked."""


def looks_like(head: Head) -> bool:
    """An annotation file, a text with one beside it, or a folder with one in it."""
    if head.path.is_dir():
        return any(found for level in LEVELS for found in head.path.glob(f"{level}*.ann"))
    path = head.path
    return path.suffix == ".ann" or (path.suffix == ".txt" and path.with_suffix(".ann").is_file())


def files(path: Path) -> tuple[Path, ...]:
    """The texts and annotation files."""
    return tuple(file for text in _texts(path) for file in (text, text.with_suffix(".ann")) if file.exists())


def read(path: Path, _: Wanted) -> Iterator[RawRow]:
    """Documents. Raises DataError for a line of another form, and a mention that is not that of its text."""
    for text in _texts(path):
        document = text.stem if not path.is_dir() else text.relative_to(path).with_suffix("").as_posix()
        if not text.with_suffix(".ann").is_file():
            yield RawRow({"text": ""}, f"{text}:1", skip="no annotation file")
            continue
        yield _document(text, text.with_suffix(".ann"), document)


def _texts(path: Path) -> list[Path]:
    if path.is_dir():
        found = (file for level in LEVELS for ending in ("*.ann", "*.txt") for file in path.glob(level + ending))
        return sorted({file.with_suffix(".txt") for file in found})
    return [path.with_suffix(".txt")]


def _document(text: Path, annotations: Path, document: str) -> RawRow:
    mentions: list[Mention] = []
    left_out: list[LeftOut] = []
    for number, line in lines(annotations) if annotations.stat().st_size else ():
        where, content = f"{annotations}:{number}", line.strip("\r\n")
        if not content.strip():
            continue
        if content[0] == "T":
            mentions.append(_mention(content, where))
        elif content[0] in OTHERS:
            left_out.append(LeftOut(OTHERS[content[0]], where))
        else:
            raise DataError(f"{where} is no brat annotation: {content[:80]!r}; lines start with T, R, E, A, N, # or *")
    return row_of(Marked(whole(text, MOST_BYTES), mentions, f"{text}:1", document, tuple(left_out), document))


def _mention(line: str, where: str) -> Mention:
    cells = line.split("\t")
    found = _SPAN.fullmatch(cells[1].strip()) if len(cells) > 1 else None
    if found is None:
        raise DataError(
            f"{where} is {line[:80]!r}; an entity is its name, a tab, label, start and end, a tab, and its text"
        )
    pieces: list[Interval] = []
    for piece in found[2].split(";"):
        start, end = map(int, piece.split(" "))
        pieces.append((start, end))
    return Mention(tuple(pieces), found[1], where, cells[2] if len(cells) > 2 else None)


FORMAT = Format("brat", "brat standoff", MARKED, looks_like, read, files=files)
