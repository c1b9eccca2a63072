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
FEW_WRONG = 2
"""Lines of another width than the first that are listed even if the others are fewer."""
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
    """Sentences, each with its document. A line without a word and a tag, or of another width, has an error; what stands
    before and after it in its sentence are rows of their own, so that other mistakes in them have places.

    Raises DataError if the lines of words and tags cannot be told, and once most lines have another width than the first.
    """
    try:
        layout = layout_of((line for _, line in lines(path)), schema.renames)
    except RowError as error:
        raise DataError(f"{path} {error}") from None
    if layout is None:  # nothing but blank lines and comments
        return
    notes, reader = layout.notes, _Reader(path, layout)
    for number, line in lines(path):
        message = ""
        try:
            ended = reader.take(number, bare_line(line))
        except DataError as fault:
            message, ended = str(fault), reader.taken()
        if ended is not None:
            yield ended.row(path, notes)
            notes = ()
        if message:
            if reader.lost:
                raise DataError(message)
            yield RawRow({}, f"{path}:{number}", error=message)
    ended, cut_off = reader.taken(), reader.cut_off
    if ended is not None:
        yield ended.row(path, notes)
    elif cut_off is not None:
        yield cut_off


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


class _Reader:
    """Lines to sentences."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = path
        self._layout = layout
        self._sentence = Sentence("")
        self._documents = 0
        self._count = 0
        """The number of the last word, if the first column counts."""
        self._described = 0
        """The line of a comment with no word after it yet."""
        self._header = layout.header
        self._right = self._wrong = 0
        """Lines of the width of the first, and of others."""

    @property
    def lost(self) -> bool:
        """Whether most lines have another width than the first, so that there is no use in listing them."""
        return self._wrong > max(self._right, FEW_WRONG)

    @property
    def cut_off(self) -> RawRow | None:
        """The error of a file of CoNLL-U that ends with a comment."""
        if not self._described or self._layout.misc is None:
            return None
        place = f"{self._path}:{self._described}"
        error = f"{place} is a comment without a sentence after it; the file is truncated: copy it again"
        return RawRow({}, place, error=error)

    def taken(self) -> Sentence | None:
        """The sentence so far, if it has words; the next line starts another one."""
        found = self._sentence
        self._sentence = Sentence(found.document)
        return found if found.tokens else None

    def take(self, number: int, text: str) -> Sentence | None:
        """Read a line; the sentence that it ends. Raises DataError for a line that cannot be read."""
        comment = is_comment(text, self._layout)
        if not text or comment or text.startswith(ALONE):
            return self._take_break(number, text, comment=comment)
        self._described = 0
        if self._header:
            self._header = False
        else:
            self._take_word(number, text)
        return None

    def _take_break(self, number: int, text: str, *, comment: bool) -> Sentence | None:
        inner = comment and text.startswith("# ")
        self._described = number if inner else 0
        if self._sentence.tokens and inner:
            raise DataError(f"{self._path}:{number} is a comment in the middle of a sentence; put an empty line before it")
        ended = self.taken()
        if text.startswith(DOCUMENTS):
            self._documents += 1
            self._sentence.document = f"{self._path.name}#{self._documents}"
        return ended

    def _take_word(self, number: int, text: str) -> None:
        layout, where = self._layout, f"{self._path}:{number}"
        cells, before = cells_of(text, layout), self._count
        skipped = layout.counter and is_skipped(cells[0])
        if not skipped:
            self._count = _number(cells[0], before + 1)
        if len(cells) != layout.width or layout.width == 1:
            self._wrong += 1
            raise DataError(f"{where} has {counted(len(cells), 'column')}, {_widths(layout.width)}")
        self._right += 1
        if "\r" in text:
            raise DataError(f"{where} has a carriage return in the middle of a line; save the file with line feeds")
        if skipped:
            _note_range(self._sentence, cells, layout)
            return
        if layout.counter:
            _check_count(where, cells[0], before, starts=not self._sentence.tokens)
        _add(where, number, self._sentence, cells, layout)


def _add(where: str, number: int, sentence: Sentence, cells: list[str], layout: Layout) -> None:
    word = cells[layout.word]
    if not word:
        column = "an empty first column" if not layout.word else "no word in its second column"
        raise DataError(f"{where} has {column}; put the word there, or remove the line")
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


def _number(cell: str, default: int = -1) -> int:
    return int(cell) if cell.isdecimal() and len(cell) < 10 else default


def _check_count(where: str, cell: str, before: int, *, starts: bool) -> None:
    """Raise DataError unless the number of a word follows the one before it, or starts a sentence."""
    found = _number(cell)
    if found != before + 1 and not (starts and found in (0, 1)):
        raise DataError(
            f"{where} has {cell[:40]!r} in its first column, which counts the words, and the line before has {before}; "
            "a line or an empty line between sentences is missing, or out of place"
        )


def _widths(width: int) -> str:
    if width == 1:
        return "a word and its tag are needed; separate them by a space or a tab"
    return f"the lines before it have {width}; fix the line or split the file"
