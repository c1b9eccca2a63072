"""BioC XML, document by document: one is held in memory at a time (`safe_xml.py`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from manyheads.data.formats.bioc import Annotation, Link, Passage, rows_of
from manyheads.data.formats.format import SPANS, Format, RowSchema
from manyheads.data.formats.lines import byte_stream
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow
from manyheads.data.formats.safe_xml import BLOCK_BYTES, XmlEvents

_NUMBER = re.compile(r"\s*\d{1,12}\s*", re.ASCII)
_TEXTS = frozenset(("id", "infon", "offset", "text"))


def looks_like(preview: Preview) -> bool:
    """XML with a collection at its root."""
    start = re.match(
        r"\s*(<\?xml.*?\?>\s*)?(<!--.*?-->\s*|<!DOCTYPE[^>\[]*(\[.*?\]\s*)?>\s*)*<collection\b", preview.text, re.S
    )
    return start is not None


def read(path: Path, _: RowSchema) -> Iterator[RawRow]:
    """Passages. Raises DataError, with the line, for damaged XML, or XML of another form."""
    reader = _Reader(path)
    with byte_stream(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            reader.feed(block)
            yield from reader.take()
    reader.feed(b"", last=True)
    yield from reader.take()


class _Reader:
    """Builds documents from elements."""

    def __init__(self, path: Path) -> None:
        self._rows: list[RawRow] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self._key = ""
        self._document = self._document_where = ""
        self._passages: list[Passage] = []
        self._outside: list[Annotation] = []
        self._relations: list[Link] = []
        self._above: list[Passage] = []
        """The open passage, and its open sentence."""
        self._annotation: Annotation | None = None
        self._relation: Link | None = None
        self._events = XmlEvents(path, self._start, self._end, self._characters)
        self.feed = self._events.feed
        self._place, self._error = self._events.place, self._events.error

    def take(self) -> list[RawRow]:
        """The rows of the documents completed so far."""
        rows, self._rows = self._rows, []
        return rows

    def _characters(self, text: str) -> None:
        if self._open and self._open[-1] in _TEXTS:
            self._text.append(text)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(name)
        self._text = []
        if len(self._open) == 1 and name != "collection":
            raise self._error(f"is XML with <{name[:80]}> at its root; BioC has <collection>")
        if name == "infon":
            self._key = attributes.get("key", "")
        opened: Callable[[dict[str, str]], None] | None = getattr(self, f"_open_{name}", None)
        if opened is not None:
            opened(attributes)

    def _end(self, name: str) -> None:
        self._open.pop()
        inside = self._open[-1] if self._open else ""
        if name in _TEXTS:
            self._take_text(name, inside, "".join(self._text))
            self._text = []
        elif name == "annotation":
            self._annotation = None
        elif name == "relation":
            self._relation = None
        elif name in ("passage", "sentence") and self._above:
            self._above.pop()
        elif name == "document":
            self._rows += rows_of(
                self._document, self._passages, self._outside, self._relations, self._document_where
            )

    def _take_text(self, name: str, inside: str, text: str) -> None:
        if inside == "document" and name == "id":
            self._document = text.strip()
        elif inside == "annotation" and self._annotation is not None:
            if name == "text":
                self._annotation.text = text
            elif name == "infon":
                self._annotation.infons[self._key] = text
        elif inside == "relation" and self._relation is not None and name == "infon":
            self._relation.infons[self._key] = text
        elif inside in ("passage", "sentence") and self._above:
            if name == "text":
                self._above[-1].text = text
            elif name == "offset":
                self._above[-1].offset = self._number(text, "offset")

    def _number(self, text: str | None, what: str) -> int:
        if text is None or not _NUMBER.fullmatch(text):
            raise self._error(f"has the {what} {text!r:.80}; give a whole number")
        return int(text)

    def _open_document(self, _: dict[str, str]) -> None:
        if self._open != ["collection", "document"]:
            raise self._error("has a document inside of another element; in BioC it is directly in the collection")
        self._document, self._document_where = "", self._place()
        self._passages, self._outside, self._relations, self._above = [], [], [], []
        self._events.start_document()

    def _open_passage(self, _: dict[str, str]) -> None:
        if self._open[-2] != "document":
            raise self._error("has a passage that is not in a document")
        passage = Passage(self._place())
        self._passages.append(passage)
        self._above = [passage]

    def _open_sentence(self, _: dict[str, str]) -> None:
        if self._open[-2] != "passage":
            raise self._error("has a sentence that is not in a passage")
        sentence = Passage(self._place())
        self._above[-1].sentences.append(sentence)
        self._above.append(sentence)

    def _open_annotation(self, attributes: dict[str, str]) -> None:
        if self._open[-2] not in ("document", "passage", "sentence"):
            raise self._error("has an annotation that is not in a document, passage or sentence")
        self._annotation = Annotation({}, [], "", self._place(), attributes.get("id", ""))
        (self._above[-1].annotations if self._above else self._outside).append(self._annotation)

    def _open_location(self, attributes: dict[str, str]) -> None:
        if self._annotation is not None:
            at, length = (self._number(attributes.get(key), key) for key in ("offset", "length"))
            self._annotation.locations.append((at, length))

    def _open_relation(self, _: dict[str, str]) -> None:
        self._relation = Link({}, [], self._place())
        (self._above[-1].relations if self._above else self._relations).append(self._relation)

    def _open_node(self, attributes: dict[str, str]) -> None:
        if self._relation is not None:
            self._relation.nodes.append((attributes.get("refid", ""), attributes.get("role", "")))


FORMAT = Format("bioc-xml", "BioC XML", SPANS, looks_like, read)
