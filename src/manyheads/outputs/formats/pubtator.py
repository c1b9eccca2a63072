"""PubTator: title and abstract, one line each, then tab-separated annotations; a blank line ends a document.

Decided here:
- Title and abstract are one text with a space between, so a text is divided at a space: after its first line or sentence. A
  text of one sentence is a title alone. Rows of one document are joined by spaces, and the first of them is the title.
- Line ends become spaces, which keeps all offsets.
- A relation between mentions becomes one between their identifiers; without these it is not written.
- Documents without an id, or with one that holds a `|`, are numbered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from manyheads.data.formats.annotations import Relation
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing
from manyheads.outputs.formats.grouped import groups, joined
from manyheads.outputs.formats.marks import joined_links, plain_relations
from manyheads.outputs.losses import GROUPS, IDENTIFIERS, IDS, NAMES, OVERLAPS, RELATIONS

_LINE_ENDS = str.maketrans("\r\n", "  ")
_SPACES = str.maketrans("\t\r\n", "   ")
_END = re.compile(r"(?<=[^\r\n])[\r\n]|(?<=[.!?]) ")
"""Where an abstract may begin."""
_ID = re.compile(r"[^|\s](?:[^|\t\r\n]*[^|\s])?")


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """A block of lines per document."""
    for number, group in enumerate(groups(documents), 1):
        document = joined(group, " ", writing.losses)
        title = len(group[0].text) if len(group) > 1 else _title(document.text)
        yield ("".join(_lines(document, title, number, writing)) + "\n").encode("utf-8")


def _title(text: str) -> int:
    """Characters of the title."""
    found = _END.search(text)
    return len(text) if found is None else found.start()


def _lines(document: Document, title: int, number: int, writing: Writing) -> Iterator[str]:
    name, where = document.key, document.where
    if not _ID.fullmatch(name):
        writing.losses.add("ids replaced by numbers", where, bool(name))
        name = str(number)
    text = document.text.translate(_LINE_ENDS)
    writing.losses.add("texts with line ends replaced by spaces", where, text != document.text)
    yield f"{name}|t|{text[:title]}\n"
    if title < len(text):
        yield f"{name}|a|{text[title + 1 :]}\n"
    writing.losses.add("ids of spans not written", where, sum(bool(span.id) for span in document.spans or ()))
    for span in document.spans or ():
        links = joined_links(span, document, writing) or "-"
        label, identifier = (value.translate(_SPACES) for value in (span.label, links))
        quoted = text[span.start : span.end].replace("\t", " ")
        yield f"{name}\t{span.start}\t{span.end}\t{quoted}\t{label}\t{identifier}\n"
    for cells in _relations(document, writing):
        yield f"{name}\t{cells}\n"


def _relations(document: Document, writing: Writing) -> Iterator[str]:
    """The relations between identifiers, without the document."""
    links = {span.id: span.links for span in document.spans or () if span.id}
    plain = plain_relations(replace(document, relations=tuple(map(_without_novelty, document.relations))), writing)
    for given, relation in zip(document.relations, plain.relations, strict=True):
        ends = [links.get(end, (end,)) for end in (relation.head, relation.tail)]
        if not all(ends):
            writing.losses.add("relations of spans without identifiers not written", document.where)
            continue
        writing.losses.add("relations of spans written as those of identifiers", document.where,
                           relation.head in links or relation.tail in links)  # fmt: skip
        novelty = given.attributes.get("novelty")
        cells = [relation.label, *("|".join(end) for end in ends)] + ([novelty] if isinstance(novelty, str) else [])
        yield "\t".join(cell.translate(_SPACES) for cell in cells)


def _without_novelty(relation: Relation) -> Relation:
    others = {name: value for name, value in relation.attributes.items() if name != "novelty" or not isinstance(value, str)}
    return replace(relation, attributes=others)


FORMAT = WriteFormat(
    "pubtator", "PubTator", ("spans",), frozenset({IDS, GROUPS, IDENTIFIERS, NAMES, OVERLAPS, RELATIONS}), encode,
    endings=(".pubtator", ".pubtator.txt"),
)  # fmt: skip
