"""brat standoff: a text file, and a file of the same name ending in .ann with its annotations.

    T1	Chemical 0 7	Aspirin
    T2	Disease 16 21;25 31	fever adults
    R1	Causes Arg1:T1 Arg2:T2

Either file names the pair; a folder stands for all pairs in it and one level below. A document is a row. A text without an
annotation file is skipped and counted; an empty annotation file means that the text has no annotations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.format import SPANS, Format, RowSchema
from manyheads.data.formats.lines import lines, whole
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import ATTRIBUTES, IDENTIFIERS, RELATIONS, AnnotatedText, Mention, entity_row
from manyheads.errors import DataError

MOST_BYTES = 64 << 20
"""Of a text."""
OTHERS = {"R": RELATIONS, "E": "events", "A": ATTRIBUTES, "M": ATTRIBUTES, "N": IDENTIFIERS, "#": "notes",
          "*": "equivalences"}  # fmt: skip
"""Annotations that are left out, by the first character of their line."""
_SPAN = re.compile(r"(\S+) (\d{1,12} \d{1,12}(?:;\d{1,12} \d{1,12})*)", re.ASCII)

LEVELS = ("", "*/")
"""Of a folder: its own files and those one level below. A run file may name any folder, even `/`."""


def looks_like(preview: Preview) -> bool:
    """An annotation file, a text with one beside it, or a folder with one in it."""
    if preview.path.is_dir():
        return any(found for level in LEVELS for found in preview.path.glob(f"{level}*.ann"))
    path = preview.path
    return path.suffix == ".ann" or (path.suffix == ".txt" and path.with_suffix(".ann").is_file())


def files(path: Path) -> tuple[Path, ...]:
    """The texts and annotation files."""
    return tuple(file for text in _texts(path) for file in (text, text.with_suffix(".ann")) if file.exists())


def read(path: Path, _: RowSchema) -> Iterator[RawRow]:
    """Documents. Raises DataError for a malformed line, and a mention that differs from its text."""
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
            raise DataError(f"{where} is not a brat annotation: {content[:80]!r}; lines start with T, R, E, A, N, # or *")
    empty = text.is_file() and not text.stat().st_size
    words = "" if empty else whole(text, MOST_BYTES)
    return entity_row(AnnotatedText(words, mentions, f"{text}:1", document, tuple(left_out), document))


def _mention(line: str, where: str) -> Mention:
    cells = line.split("\t")
    found = _SPAN.fullmatch(cells[1].strip()) if len(cells) > 1 else None
    if found is None:
        raise DataError(
            f"{where} is {line[:80]!r}; an entity is its name, a tab, label, start and end, a tab, and its text"
        )
    pieces = tuple((int(start), int(end)) for start, end in (piece.split(" ") for piece in found[2].split(";")))
    return Mention(pieces, found[1], where, cells[2] if len(cells) > 2 else None)


FORMAT = Format("brat", "brat standoff", SPANS, looks_like, read, files=files)
