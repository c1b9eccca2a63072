"""PubTator: title and abstract of an article, one line each, then tab-separated annotations; a blank line ends a document.

    101|t|Aspirin lowers fever
    101|a|We gave it to ten adults.
    101	0	7	Aspirin	Chemical	D001241
    101	CID	D001241	D005334

The text is title and abstract with one space between, as the offsets count. The mention quoted on each line must match
the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.format import SPANS, Format, RowSchema
from manyheads.data.formats.lines import lines
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import as_label
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import IDENTIFIERS, RELATIONS, AnnotatedText, Mention, entity_row
from manyheads.errors import DataError

_TEXT = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_NUMBER = re.compile(r"-?\d{1,12}", re.ASCII)
NO_IDENTIFIER = ("", "-", "-1")


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
        self._mentions: list[Mention] = []
        self._left_out: list[LeftOut] = []

    def add(self, line: str, where: str) -> None:
        """Add a line. Raises DataError for one that does not belong to the document."""
        found = _TEXT.fullmatch(line)
        if found is not None and "\t" not in line[: found.start(3)]:
            if found[2] == "t" or self._abstract is not None or self._mentions:
                raise DataError(f"{where} is a second title or abstract; put a blank line between documents")
            self._check_id(found[1], where)
            self._abstract = found[3]
            return
        cells = line.split("\t")
        self._check_id(cells[0], where)
        if len(cells) > 2 and _NUMBER.fullmatch(cells[1]) and _NUMBER.fullmatch(cells[2]):
            self._mention(cells, where)
        elif len(cells) in (4, 5):
            self._left_out.append(LeftOut(RELATIONS, where))
        else:
            raise DataError(f"{where} has {len(cells)} columns; an annotation has document, start, end, mention and type, "
                            "separated by tabs")  # fmt: skip

    def row(self) -> RawRow:
        """The document as a row."""
        text = self._title if self._abstract is None else f"{self._title} {self._abstract}"
        annotated = AnnotatedText(text, self._mentions, self._where, self._id, tuple(self._left_out), self._id)
        return entity_row(annotated)

    def _check_id(self, document: str, where: str) -> None:
        if document != self._id:
            raise DataError(f"{where} is of document {document[:80]!r} within {self._id[:80]!r}; a blank line ends "
                            "a document")  # fmt: skip

    def _mention(self, cells: list[str], where: str) -> None:
        if len(cells) < 5:
            raise DataError(
                f"{where} has {len(cells)} columns; an annotation has document, start, end, mention and type"
            )
        label = as_label(cells[4].strip(), where)
        identifier = cells[5].strip() if len(cells) > 5 and cells[5].strip() not in NO_IDENTIFIER else ""
        self._mentions.append(Mention(((int(cells[1]), int(cells[2])),), label, where, cells[3], identifier))
        if identifier:
            self._left_out.append(LeftOut(IDENTIFIERS, where))


FORMAT = Format("pubtator", "PubTator", SPANS, looks_like, read)
