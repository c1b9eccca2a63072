"""PubTator: title and abstract of an article, one line each, then tab-separated annotations; a blank line ends a document.

    101|t|Aspirin lowers fever
    101|a|We gave it to ten adults.
    101	0	7	Aspirin	Chemical	D001241
    101	CID	D001241	D005334

Relations are between identifiers. A fifth column (in BioRED whether the finding is new) is the attribute `novelty`.

The text is title and abstract with one space between, as the offsets count. The mention quoted on each line must match
the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.annotations import Relation, Span, links_of_text
from manyheads.data.formats.format import SPANS, Format, RowSchema
from manyheads.data.formats.lines import lines
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import as_label
from manyheads.data.formats.rows import RawRow
from manyheads.data.formats.standoff import AnnotatedText, entity_rows
from manyheads.errors import DataError

AGAIN = " is a second title or abstract; put a blank line between documents"
_TEXT = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_NUMBER = re.compile(r"-?\d{1,12}", re.ASCII)


def looks_like(preview: Preview) -> bool:
    """A title on the first line."""
    return re.match(r"\s*[^|\t\n]+\|t\|", preview.text) is not None


def read(path: Path, _: RowSchema) -> Iterator[RawRow]:
    """Documents. A line that cannot be read, and a mention that differs from its text, are rows with an error.

    After a bad title, the lines of its document are skipped.
    """
    document: _Document | None = None
    skipping = False
    for number, line in lines(path):
        where, text = f"{path}:{number}", line.strip("\r\n")
        found = _TEXT.fullmatch(text)
        if not text.strip() or (found is not None and found[2] == "t"):
            if document is not None:
                if found is not None:
                    yield RawRow({}, where, error=f"{where}{AGAIN}")
                yield from document.rows()
            document, skipping = _Document(found, where) if found is not None else None, False
        elif document is not None:
            try:
                document.add(text, found, where)
            except DataError as error:
                yield RawRow({}, where, error=str(error))
        elif not skipping:
            skipping = True
            told = f"{where} should be the title of a document, as in 101|t|Title, seen {text[:80]!r}"
            yield RawRow({}, where, error=told)
    if document is not None:
        yield from document.rows()


class _Document:
    """A document, read line by line."""

    def __init__(self, title: re.Match[str], where: str) -> None:
        self._id, _, self._title = title.groups()
        self._abstract: str | None = None
        self._has_text = True
        """Whether its abstract is good, so that offsets can be compared with the text."""
        self._where = where
        self._spans: list[Span] = []
        self._relations: list[Relation] = []

    def add(self, line: str, abstract: re.Match[str] | None, where: str) -> None:
        """Add a line, which may be an abstract. Raises DataError for one that does not belong to the document."""
        if abstract is not None:
            self._has_text = False
            if self._abstract is not None or self._spans:
                raise DataError(f"{where}{AGAIN}")
            self._check_id(abstract[1], where)
            self._abstract, self._has_text = abstract[3], True
            return
        cells = line.split("\t")
        self._check_id(cells[0], where)
        if len(cells) > 2 and _NUMBER.fullmatch(cells[1]) and _NUMBER.fullmatch(cells[2]):
            self._span(cells, where)
        elif len(cells) in (4, 5):
            novelty = {"novelty": cells[4]} if cells[4:] and cells[4].strip() else {}
            self._relations.append(Relation(cells[2], cells[3], cells[1], attributes=novelty, where=where))
        else:
            raise DataError(f"{where} has {len(cells)} columns; an annotation has document, start, end, mention and type, "
                            "separated by tabs")  # fmt: skip

    def rows(self) -> Iterator[RawRow]:
        """The document as a row, or the errors of its spans."""
        text = self._title if self._abstract is None else f"{self._title} {self._abstract}"
        if self._has_text:
            yield from entity_rows(
                AnnotatedText(text, self._spans, self._where, self._id, id=self._id, relations=self._relations)
            )

    def _check_id(self, document: str, where: str) -> None:
        if document != self._id:
            raise DataError(f"{where} is of document {document[:80]!r} within {self._id[:80]!r}; a blank line ends "
                            "a document")  # fmt: skip

    def _span(self, cells: list[str], where: str) -> None:
        if len(cells) < 5:
            raise DataError(
                f"{where} has {len(cells)} columns; an annotation has document, start, end, mention and type"
            )
        label, links = as_label(cells[4].strip(), where), links_of_text("".join(cells[5:6]).strip())
        piece = int(cells[1]), int(cells[2])
        self._spans.append(Span((piece,), label, links=links, where=where, text=cells[3]))


FORMAT = Format("pubtator", "PubTator", SPANS, looks_like, read)
