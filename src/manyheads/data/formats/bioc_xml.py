"""BioC XML, document by document.

A document type that points to BioC.dtd is ignored; one that contains definitions is refused, so there are no entities to
expand, and nothing outside of the file is ever opened. One document is held in memory at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from manyheads.data.formats.bioc import Annotation, Passage, rows_of
from manyheads.data.formats.format import SPANS, Format, RowSchema
from manyheads.data.formats.lines import byte_stream
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError

BLOCK_BYTES = 1 << 16
MOST_LEVELS = 20
MOST_CHARACTERS = 64 << 20
"""Of a document, without markup."""
MOST_ELEMENTS = 2_000_000
"""Of a document."""
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
        self._path = path
        self._rows: list[RawRow] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self._key = ""
        self._size = self._elements = 0
        self._document = self._document_where = ""
        self._passages: list[Passage] = []
        self._relations: list[str] = []
        self._above: list[Passage] = []
        """The open passage, and its open sentence."""
        self._annotation: Annotation | None = None
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._skipped

    def feed(self, block: bytes, last: bool = False) -> None:
        """Parse more of the file. Raises DataError."""
        try:
            self._parser.Parse(block, last)
        except expat.ExpatError as error:
            raise DataError(f"{self._path}:{error.lineno} is not valid XML: {expat.ErrorString(error.code)} at column "
                            f"{error.offset + 1}") from None  # fmt: skip
        except (ValueError, LookupError) as error:  # an unknown encoding
            raise self._error(f"is not readable XML: {error}") from None

    def take(self) -> list[RawRow]:
        """The rows of the documents completed so far."""
        rows, self._rows = self._rows, []
        return rows

    def _place(self) -> str:
        return f"{self._path}:{self._parser.CurrentLineNumber}"

    def _error(self, what: str) -> DataError:
        return DataError(f"{self._place()} {what}")

    def _doctype(self, name: str, system: str | None, public: str | None, inside: Any) -> None:
        if inside:
            raise self._error(
                "has a document type with definitions of its own, which are not supported; remove <!DOCTYPE ...>"
            )

    def _entity(self, name: str, *_: Any) -> None:
        raise self._error(f"defines the entity {name[:80]!r}; write it out, and remove <!DOCTYPE ...>")

    def _skipped(self, name: str, _: Any) -> None:
        raise self._error(
            f"has the entity &{name[:80]};, which is not defined in the file; write the character instead"
        )

    def _characters(self, text: str) -> None:
        self._size += len(text)
        if self._size > MOST_CHARACTERS:
            raise self._error(
                f"is a document of more than {MOST_CHARACTERS >> 20} million characters; cut it into parts"
            )
        if self._open and self._open[-1] in _TEXTS:
            self._text.append(text)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        self._open.append(name)
        self._text = []
        if len(self._open) > MOST_LEVELS:
            raise self._error(f"has elements nested in more than {MOST_LEVELS} levels, which BioC does not")
        if self._elements > MOST_ELEMENTS:
            raise self._error(f"is a document of more than {MOST_ELEMENTS:,} elements; cut it into parts")
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
        elif name in ("passage", "sentence") and self._above:
            self._above.pop()
        elif name == "document":
            rows = rows_of(self._document, self._passages, self._relations, self._document_where)
            self._rows += rows

    def _take_text(self, name: str, inside: str, text: str) -> None:
        if inside == "document" and name == "id":
            self._document = text.strip()
        elif inside == "annotation" and self._annotation is not None:
            if name == "text":
                self._annotation.text = text
            elif name == "infon":
                self._annotation.infons[self._key] = text.strip()
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
        self._passages, self._relations, self._above = [], [], []
        self._size = self._elements = 0

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

    def _open_annotation(self, _: dict[str, str]) -> None:
        if self._open[-2] not in ("passage", "sentence"):
            raise self._error("has an annotation that is not in a passage or sentence")
        self._annotation = Annotation({}, [], "", self._place())
        self._above[-1].annotations.append(self._annotation)

    def _open_location(self, attributes: dict[str, str]) -> None:
        if self._annotation is not None:
            at, length = (self._number(attributes.get(key), key) for key in ("offset", "length"))
            self._annotation.locations.append((at, length))

    def _open_relation(self, _: dict[str, str]) -> None:
        (self._above[-1].relations if self._above else self._relations).append(self._place())


FORMAT = Format("bioc-xml", "BioC XML", SPANS, looks_like, read)
