"""CoNLL columns: one word a line, blank lines between sentences, `-DOCSTART-` between documents.

Decided here: the first column is the word, the last its tag. A tab in the first line means that tabs separate; otherwise
runs of spaces do, and never other white space, because a no-break space can be part of a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.lines import lines
from manyheads.data.formats.rows import RawRow, counted
from manyheads.errors import DataError


def read(path: Path, kind: str) -> Iterator[RawRow]:
    """Sentences, each with its document. Raises DataError for a line without a word and a tag, or of another width."""
    document, documents, width, tabs = "", 0, 0, False
    tokens: list[str] = []
    tags: list[str] = []
    first = 0

    def sentence() -> RawRow:
        return RawRow({"tokens": tokens, "tags": tags, "document": document}, f"{path}:{first}", len(tokens))

    for number, line in lines(path):
        text = line.strip("\r\n").rstrip(" \t")
        starts_document = text.startswith("-DOCSTART-")
        if starts_document or not text:
            if tokens:
                yield sentence()
                tokens, tags = [], []
            if starts_document:
                documents += 1
                document = f"{path.name}#{documents}"
            continue
        if not width:
            tabs = "\t" in text
        cells = [cell.strip(" ") for cell in text.split("\t")] if tabs else [cell for cell in text.split(" ") if cell]
        width = width or len(cells)
        if len(cells) != width or width == 1:
            raise DataError(f"{path}:{number} has {counted(len(cells))}, {_widths(width)}")
        if not cells[0]:
            raise DataError(f"{path}:{number} has an empty first column; put the word there, or remove the line")
        if not tokens:
            first = number
        tokens.append(cells[0])
        tags.append(cells[-1])
    if tokens:
        yield sentence()


def _widths(width: int) -> str:
    if width == 1:
        return "a word and its tag are needed; separate them by a space or a tab"
    return f"the lines before it have {width}; fix the line or split the file"
