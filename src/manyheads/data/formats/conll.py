"""CoNLL columns, including CoNLL-U: one word per line, blank lines between sentences, `-DOCSTART-` between documents.

Design (`text/columns.py` infers what the columns mean):
- The first column is the word, the last its tag. If the first column counts the words, the second is the word, and a line
  out of order is refused, because a line or an empty line must be missing.
- A tab in the first line means that tabs separate; otherwise runs of spaces do. Other white space never separates, because
  a no-break space can be part of a word.
- Before a sentence, `# key = value` and other lines that begin with `# ` are comments, except a line with the columns of a
  word. `# newdoc` and `#begin document` start a document. Comments within a sentence are refused.
- Names and numbers of columns under `columns` of the data source take precedence over all of this.
- CoNLL-U: ranges (`3-4`) and empty nodes (`8.1`) are skipped; `SpaceAfter=No` becomes the row's `space_after`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.lines import lines
from manyheads.data.formats.messages import counted
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError, RowError
from manyheads.text.columns import Layout, bare_line, cells_of, is_comment, is_skipped, layout_of

ALONE = ("-DOCSTART-", "###MEDLINE:")
"""How a line that starts a document, and is no comment, begins."""
DOCUMENTS = (*ALONE, "#begin document", "# newdoc")
"""How a line that starts a document begins."""
MOST_COMMENTS = 100
"""Lines at the beginning of a file in which a word is looked for."""
_FIRST_WORD = re.compile(r"(?:[01]|1-[2-9]|0\.1)(?:\t[^\t]+){9,}\s*$")


def is_universal(preview: Preview) -> bool:
    """CoNLL-U, by its ending, or by ten columns that tabs separate and the first of which counts."""
    if preview.name.endswith((".conllu", ".conllup")):
        return True
    first = next((line for line in preview.text.split("\n")[:MOST_COMMENTS] if line.strip() and line[0] != "#"), "")
    return _FIRST_WORD.match(first) is not None


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Sentences, each with its document. Raises DataError for a line without a word and a tag, or of another width."""
    try:
        layout = layout_of((line for _, line in lines(path)), schema.renames)
    except RowError as error:
        raise DataError(f"{path} {error}") from None
    if layout is None:  # nothing but blank lines and comments
        return
    sentences = _sentences(path, layout)
    first = next(sentences, None)
    if first is None:
        return
    yield first.row(path, layout.notes)
    for sentence in sentences:
        yield sentence.row(path)


@dataclass(slots=True)
class Sentence:
    """The words of a sentence."""

    document: str
    numbers: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    space_after: list[bool] = field(default_factory=list)
    shared: int = 0
    """Words still to come in a range that has no space after it."""

    def add(self, line: int, word: str, tag: str, *, space_after: bool = True) -> None:
        """Add a word with its line."""
        self.numbers.append(line)
        self.tokens.append(word)
        self.tags.append(tag)
        self.space_after.append(space_after)

    def row(self, path: Path, notes: tuple[str, ...] = ()) -> RawRow:
        """The sentence as a row. If lines between its words were skipped, the lines of its words are not known."""
        values: dict[str, Any] = {"tokens": self.tokens, "tags": self.tags, "document": self.document}
        if not all(self.space_after):
            values["space_after"] = self.space_after
        whole = self.numbers[-1] - self.numbers[0] == len(self.numbers) - 1
        return RawRow(values, f"{path}:{self.numbers[0]}", len(self.tokens) if whole else 1, notes=notes)


def _sentences(path: Path, layout: Layout) -> Iterator[Sentence]:
    documents, document, before, described = 0, "", 0, 0
    sentence, header = Sentence(""), layout.header
    for number, line in lines(path):
        text = bare_line(line)
        comment = is_comment(text, layout)
        if not text or comment or text.startswith(ALONE):
            if sentence.tokens and comment and text.startswith("# "):
                raise DataError(
                    f"{path}:{number} is a comment in the middle of a sentence; put an empty line before it"
                )
            described = number if comment and text.startswith("# ") else 0
            if sentence.tokens:
                yield sentence
                sentence = Sentence(document)
            if text.startswith(DOCUMENTS):
                documents += 1
                document = f"{path.name}#{documents}"
                sentence.document = document
            continue
        described = 0
        if header:
            header = False
            continue
        cells = cells_of(text, layout)
        if len(cells) != layout.width or layout.width == 1:
            raise DataError(f"{path}:{number} has {counted(len(cells), 'column')}, {_widths(layout.width)}")
        if "\r" in text:
            raise DataError(
                f"{path}:{number} has a carriage return in the middle of a line; save the file with line feeds"
            )
        if layout.counter and is_skipped(cells[0]):
            _note_range(sentence, cells, layout)
            continue
        if layout.counter:
            before = _checked_count(path, number, cells[0], before, starts=not sentence.tokens)
        _add(path, number, sentence, cells, layout)
    if sentence.tokens:
        yield sentence
    elif described and layout.misc is not None:
        raise DataError(
            f"{path}:{described} is a comment without a sentence after it; the file is truncated: copy it again"
        )


def _add(path: Path, number: int, sentence: Sentence, cells: list[str], layout: Layout) -> None:
    word = cells[layout.word]
    if not word:
        column = "an empty first column" if not layout.word else "no word in its second column"
        raise DataError(f"{path}:{number} has {column}; put the word there, or remove the line")
    if sentence.shared > 0:
        sentence.shared -= 1
        spaced = sentence.shared > 0
    else:
        spaced = True
    sentence.add(number, word, layout.tag_of(cells), space_after=spaced and layout.space_after(cells))


def _note_range(sentence: Sentence, cells: list[str], layout: Layout) -> None:
    """Note whether a space follows the last word of a range; the rest of its line is ignored."""
    first, dash, last = cells[0].partition("-")
    if dash and not layout.space_after(cells):
        sentence.shared = int(last) - int(first) + 1


def _checked_count(path: Path, number: int, cell: str, before: int, *, starts: bool) -> int:
    """The number of a word. Raises DataError unless it follows the one before it, or starts a sentence."""
    found = int(cell) if cell.isdecimal() and len(cell) < 10 else -1
    if found == before + 1 or (starts and found in (0, 1)):
        return found
    raise DataError(
        f"{path}:{number} has {cell[:40]!r} in its first column, which counts the words, and the line before has {before}; "
        "a line or an empty line between sentences is missing, or out of place"
    )


def _widths(width: int) -> str:
    if width == 1:
        return "a word and its tag are needed; separate them by a space or a tab"
    return f"the lines before it have {width}; fix the line or split the file"
