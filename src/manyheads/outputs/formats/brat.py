"""brat standoff: a folder with a text and an annotation file for each document.

    T1	Chemical 0 7	Aspirin
    T2	Disease 16 21;25 31	fever adults
    A1	Negated T2
    N1	Reference T1 D001241	Aspirin
    R1	Treats Arg1:T1 Arg2:T2

Decided here:
- Files are named after the document, else the id, else numbered. Names are made safe, and different.
- Rows of one document are joined by line ends.
- A span is cut at line ends, as brat does: its annotation is one line. Reading joins its parts again.
- Labels, attributes and their values are words: white space in them becomes `_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count

from manyheads.data.formats.annotations import Interval, Span, attribute_of_text, text_of_attribute
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing
from manyheads.outputs.formats.grouped import groups, joined
from manyheads.outputs.formats.marks import relations_of_spans, with_ids
from manyheads.outputs.losses import ATTRIBUTES, GROUPS, IDENTIFIERS, IDS, NAMES, OVERLAPS, PIECES, RELATIONS

LONGEST_NAME = 80
"""Characters; most file systems allow 255 bytes."""
_ID = re.compile(r"T\d{1,9}", re.ASCII)
_SPACES_IN_LINK = re.compile(r"[\t\r\n]")
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
    def word(text: str, what: str) -> str:
        one = re.sub(r"\s+", "_", text) or "_"
        writing.losses.add(f"{what} changed to one word", document.where, one != text)
        return one

    document = relations_of_spans(with_ids(document, set(), "T{}".format, writing.losses, _ID), writing)
    attributes, links = count(1), count(1)
    for span in document.spans or ():
        pieces = [piece for whole in span.pieces for piece in _without_line_ends(document.text, whole)]
        places = ";".join(f"{start} {end}" for start, end in pieces)
        quoted = Span(tuple(pieces)).quoted(document.text).translate(_SPACES)
        yield f"{span.id}\t{word(span.label, 'labels')} {places}\t{quoted}\n"
        for name, value in span.attributes.items():
            for one in value if isinstance(value, tuple) else (value,):
                mark = word(text_of_attribute(one), "attributes")
                writing.losses.add("attributes written as text", document.where, attribute_of_text(mark) != one)
                yield f"A{next(attributes)}\t{word(name, 'attributes')} {span.id}{'' if one is True else f' {mark}'}\n"
        for link in span.links:
            known = _SPACES_IN_LINK.sub(" ", link).strip() or "_"
            writing.losses.add("identifiers with changed spaces", document.where, known != link)
            yield f"N{next(links)}\tReference {span.id} {known}\t{quoted}\n"
    losing = sum(len(relation.attributes) for relation in document.relations)
    writing.losses.add("attributes of relations not written", document.where, losing)
    for number, relation in enumerate(document.relations, 1):
        one, two = (word(role.replace(":", "_"), "roles") for role in relation.roles)
        yield f"R{number}\t{word(relation.label, 'labels')} {one}:{relation.head} {two}:{relation.tail}\n"


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
    "brat", "brat standoff", ("spans",),
    frozenset({IDS, GROUPS, PIECES, OVERLAPS, NAMES, ATTRIBUTES, IDENTIFIERS, RELATIONS}), files=files, endings=(".ann",),
)  # fmt: skip
