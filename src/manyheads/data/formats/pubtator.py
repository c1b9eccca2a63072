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
from manyheads.data.formats.standoff import AnnotatedText, entity_row
from manyheads.errors import DataError

_TEXT = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_NUMBER = re.compile(r"-?\d{1,12}", re.ASCII)


def looks_like(preview: Preview) -> bool:
    """A title on the first line."""
    return re.match(r"\s*[^|\t\n]+\|t\|", preview.text) is not None


def read(path: Path, _: RowSchema) -> Iterator[RawRow]:
    """Documents. Raises DataError for a malformed line, and a mention that differs from its text."""
    document: _Document | None = None
    for number, line in lines(path):
        where, text = f"{path}:{number}", line.strip("\r\n")
        if not text.strip():
            if document is not None:
                yield document.row()
            document = None
        elif document is None:
            document = _Document(text, where)
        else:
            document.add(text, where)
    if document is not None:
        yield document.row()


class _Document:
    """A document, read line by line."""

    def __init__(self, line: str, where: str) -> None:
        found = _TEXT.fullmatch(line)
        if found is None or found[2] != "t":
            raise DataError(f"{where} should be the title of a document, as in 101|t|Title, seen {line[:80]!r}")
        self._id, _, self._title = found.groups()
        self._abstract: str | None = None
        self._where = where
        self._spans: list[Span] = []
        self._relations: list[Relation] = []

    def add(self, line: str, where: str) -> None:
        """Add a line. Raises DataError for one that does not belong to the document."""
        found = _TEXT.fullmatch(line)
        if found is not None and "\t" not in line[: found.start(3)]:
            if found[2] == "t" or self._abstract is not None or self._spans:
                raise DataError(f"{where} is a second title or abstract; put a blank line between documents")
            self._check_id(found[1], where)
            self._abstract = found[3]
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

    def row(self) -> RawRow:
        """The document as a row."""
        text = self._title if self._abstract is None else f"{self._title} {self._abstract}"
        return entity_row(
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
