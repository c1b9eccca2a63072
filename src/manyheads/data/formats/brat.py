"""brat standoff: a text file, and a file of the same name ending in .ann with its annotations.

    T1	Chemical 0 7	Aspirin
    T2	Disease 16 21;25 31	fever adults
    R1	Causes Arg1:T1 Arg2:T2
    A1	Negated T2
    A2	Certainty T2 low
    N1	Reference T1 MESH:D001241	Aspirin

Attributes (binary ones are true), identifiers and relations are those of spans. Attributes of relations and events are
counted, and so are names of concepts that are not what the text says.

Either file names the pair; a folder stands for all pairs in it and one level below. A document is a row. A text without an
annotation file is skipped and counted; an empty annotation file means that the text has no annotations.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manyheads.data.formats.annotations import Relation, Span, attribute_of_text, several
from manyheads.data.formats.format import SPANS, Format, RowSchema
from manyheads.data.formats.lines import lines, whole
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import ATTRIBUTES, IDENTIFIERS, RELATIONS, AnnotatedText, entity_rows
from manyheads.errors import DataError

MOST_BYTES = 64 << 20
"""Of a text."""
OTHERS = {"R": RELATIONS, "E": "events", "A": ATTRIBUTES, "M": ATTRIBUTES, "N": IDENTIFIERS, "#": "notes",
          "*": "equivalences"}  # fmt: skip
"""Annotations that are left out, by the first character of their line."""
CONCEPTS = "names of concepts"
_SPAN = re.compile(r"(\S+) (\d{1,12} \d{1,12}(?:;\d{1,12} \d{1,12})*)", re.ASCII)
_RELATION = re.compile(r"R[^\t]*\t(\S+) ([^\s:]+):(\S+) ([^\s:]+):(\S+)\s*")
_ATTRIBUTE = re.compile(r"[AM][^\t]*\t(?P<name>\S+) (?P<span>T\S*)(?: (?P<value>\S+))?\s*")
_LINK = re.compile(r"N[^\t]*\t\S+ (?P<span>T\S*) (?P<link>[^\t]*[^\t ])(?:\t(?P<name>.*))?")

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
    """Documents. A malformed line, a mention that differs from its text, and a missing text are rows with an error."""
    for text in _texts(path):
        document = text.stem if not path.is_dir() else text.relative_to(path).with_suffix("").as_posix()
        if not text.with_suffix(".ann").is_file():
            yield RawRow({"text": ""}, f"{text}:1", skip="no annotation file")
            continue
        yield from _rows(text, text.with_suffix(".ann"), document)


def _texts(path: Path) -> list[Path]:
    if path.is_dir():
        found = (file for level in LEVELS for ending in ("*.ann", "*.txt") for file in path.glob(level + ending))
        return sorted({file.with_suffix(".txt") for file in found})
    return [path.with_suffix(".txt")]


def _rows(text: Path, annotations: Path, document: str) -> Iterator[RawRow]:
    """A document as a row, after the errors of its lines, or with those of its spans."""
    found, place = _Annotations(), f"{text}:1"
    try:
        for number, line in lines(annotations) if annotations.stat().st_size else ():
            where, content = f"{annotations}:{number}", line.strip("\r\n")
            try:
                found.add(content, where)
            except DataError as error:
                yield RawRow({}, where, error=str(error))
        empty = text.is_file() and not text.stat().st_size
        words = "" if empty else whole(text, MOST_BYTES)
    except DataError as error:  # the other documents of a folder can still be read
        yield RawRow({}, place, error=str(error))
        return
    spans, left_out = found.spans_with_all(), tuple(found.left_out)
    yield from entity_rows(AnnotatedText(words, spans, place, document, left_out, document, relations=found.relations))


@dataclass(slots=True)
class _Annotations:
    """Those of a document, line by line."""

    spans: dict[str, Span] = field(default_factory=dict)
    attributes: dict[str, dict[str, list[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    links: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    relations: list[Relation] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)
    """Lines of attributes and identifiers, whose spans may follow."""

    def add(self, line: str, where: str) -> None:
        """Add a line. Raises DataError for a span that is malformed, and for a line that is no annotation."""
        if not line.strip():
            return
        kind = line[0]
        if kind == "T":
            span = _span(line, where)
            again = f"{span.id} {len(self.spans)}" if span.id in self.spans else span.id
            self.spans[again] = span
        elif kind in "AMN":
            self.waiting.append((line, where))
        elif kind == "R" and (match := _RELATION.fullmatch(line)):
            label, one, head, two, tail = match.groups()
            self.relations.append(Relation(head, tail, label, (one, two), where=where))
        elif kind in OTHERS:
            self.left_out.append(LeftOut(OTHERS[kind], where))
        else:
            raise DataError(f"{where} is not a brat annotation: {line[:80]!r}; lines start with T, R, E, A, N, # or *")

    def spans_with_all(self) -> list[Span]:
        """The spans, with their attributes and identifiers."""
        for line, where in self.waiting:
            match = (_LINK if line[0] == "N" else _ATTRIBUTE).fullmatch(line)
            if match is None or match["span"] not in self.spans:
                self.left_out.append(LeftOut(OTHERS[line[0]], where))
            elif line[0] == "N":
                self.links[match["span"]].append(match["link"])
                if match["name"] not in (None, "", self.spans[match["span"]].text):
                    self.left_out.append(LeftOut(CONCEPTS, where))
            else:
                self.attributes[match["span"]][match["name"]].append(match["value"] or "true")
        return [replace(span, links=tuple(self.links[key]), attributes=_values(self.attributes[key]))
                for key, span in self.spans.items()]  # fmt: skip


def _values(attributes: Mapping[str, list[str]]) -> dict[str, Any]:
    found = ((name, several(values)) for name, values in attributes.items())
    return {name: attribute_of_text(value) if isinstance(value, str) else value for name, value in found}


def _span(line: str, where: str) -> Span:
    cells = line.split("\t")
    found = _SPAN.fullmatch(cells[1].strip()) if len(cells) > 1 else None
    if found is None:
        raise DataError(
            f"{where} is {line[:80]!r}; an entity is its name, a tab, label, start and end, a tab, and its text"
        )
    pieces = tuple((int(start), int(end)) for start, end in (piece.split(" ") for piece in found[2].split(";")))
    return Span(pieces, found[1], id=cells[0].strip(), where=where, text=cells[2] if len(cells) > 2 else None)


FORMAT = Format("brat", "brat standoff", SPANS, looks_like, read, files=files)
