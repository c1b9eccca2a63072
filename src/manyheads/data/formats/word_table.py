"""Tables with a word in each row: csv or tsv whose header names a column of sentences, one of words and one of tags.

    Sentence #,Word,POS,Tag            the sentence in its first row alone (Kaggle's Annotated Corpus for NER)
    Sentence: 1,Thousands,NNS,O
    ,of,IN,O

    sentence_id,words,labels           the sentence in every row (simpletransformers)

Decided here:
- A file of the second kind has no empty cell for the sentence, and one of the first no repeated one: the row would be of
  another sentence than it seems.
- A sentence that comes again after others is refused, because sorting or shuffling took its rows apart. Only the first
  MOST_KNOWN sentences are remembered.
- Of several columns that could hold tags, the one with the name that comes first in TAGS is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from manyheads.data.formats.columns import unknown_column
from manyheads.data.formats.conll import Sentence
from manyheads.data.formats.csv import LONGEST_CELL, cells_by_name, opened_table
from manyheads.data.formats.format import TAGGED_WORDS, Format, RowSchema
from manyheads.data.formats.lines import bare_name
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow
from manyheads.errors import ColumnsError, DataError
from manyheads.text.delimited import CellError, Header, read_cells

SENTENCES = ("sentence", "sentence_id", "sentence_idx", "sentence_index", "sentence_number", "sentence_no", "sent_id",
             "sent_idx", "sent")  # fmt: skip
WORDS = ("word", "words", "token", "tokens", "form")
TAGS = ("tag", "tags", "ner_tag", "ner_tags", "ner", "bio", "iob", "label", "labels", "entity", "upos", "pos", "pos_tag")
DOCUMENTS = ("document", "document_id", "doc", "doc_id")
ROLES: Mapping[str, Sequence[str]] = {"sentence": SENTENCES, "tokens": WORDS, "tags": TAGS, "document": DOCUMENTS}
"""Our columns with their usual names."""
MOST_KNOWN = 10_000
LOOKED_AT = 50
"""Rows from which a file is recognised."""
LONGEST_ID = 40
"""Characters in the name or number of a sentence; a longer one is its text."""
_NUMBER = re.compile(r"(\d{1,9})\D*$")


def looks_like(preview: Preview) -> bool:
    """Usual names for sentence and word in the header of a csv or tsv file, and a sentence of several rows."""
    if not preview.name.endswith((".csv", ".tsv")):
        return False
    lines = (f"{line}\n" for line in preview.text.split("\n")[: LOOKED_AT + 1])
    try:
        first, *rows = read_cells(lines, tabs=preview.name.endswith(".tsv"), longest=LONGEST_CELL)
        header = Header(first)
        columns = _columns(header.known, preview.renames)
        ids = [cells[columns["sentence"]] for row in rows if (cells := header.row(row)) is not None]
    except (CellError, ValueError, KeyError):
        return False
    several = any(not one or one == before for before, one in pairwise(ids))
    return "tokens" in columns and several and all(len(one) <= LONGEST_ID and len(one.split()) < 4 for one in ids)


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Sentences. A word without a tag or a sentence, a row of another width, and a sentence in pieces are rows with an error.

    Raises DataError for missing columns.
    """
    with opened_table(path, tabs=bare_name(path).endswith(".tsv")) as rows:
        first = next(rows, None)
        if first is None:
            return
        header, where = Header(first), f"{path}:{first.line}"
        for ours, theirs in schema.named:
            if ours not in ROLES or theirs not in header.known:
                raise unknown_column(where, ours, theirs, header.known)
        columns = _columns(header.known, schema.renames)
        for ours in ("sentence", "tokens", "tags"):
            if ours not in columns:
                raise ColumnsError(f"{where} has the columns {', '.join(header.known):.500}, and none that usually holds "
                                   f"{WHAT[ours]}; name it: columns: {{{ours}: NAME}}")  # fmt: skip
        grouping = _Grouping()
        note = ", ".join(f"{WHAT[ours]} from '{theirs}'" for ours, theirs in columns.items())
        notes: tuple[str, ...] = (f"a word in each row: {note}",)
        sentence = Sentence("")
        for row in rows:
            place = f"{path}:{row.line}"
            try:
                cells = cells_by_name(path, header, row)
                starts = any(cells.values()) and _starts(cells, columns, grouping, place)
            except DataError as error:
                if sentence.tokens:
                    yield sentence.row(path, notes)
                    sentence, notes = Sentence(sentence.document), ()
                yield RawRow({}, place, error=str(error))
                continue
            if not any(cells.values()):
                continue
            if starts:
                if sentence.tokens:
                    yield sentence.row(path, notes)
                    notes = grouping.notes
                sentence = Sentence(cells[columns["document"]] if "document" in columns else "")
            sentence.add(row.line, cells[columns["tokens"]], cells[columns["tags"]])
        if sentence.tokens:
            yield sentence.row(path, notes)


def _starts(cells: Mapping[str, str], columns: Mapping[str, str], grouping: _Grouping, place: str) -> bool:
    """Whether a row starts a sentence. Raises DataError if that is not certain, or if it lacks its word or tag."""
    word, tag, sentence = (cells[columns[ours]] for ours in ("tokens", "tags", "sentence"))
    starts = grouping.starts(sentence, cells[columns["document"]] if "document" in columns else "", place)
    if not word or not tag:
        lacks = f"the tag {tag[:40]!r} and no word" if tag else f"no tag for the word {word[:40]!r}"
        raise DataError(f"{place} has {lacks}; fill the row in (O where there is no entity), or remove it")
    return starts


WHAT = {"sentence": "sentences", "tokens": "words", "tags": "tags", "document": "documents"}


class _Grouping:
    """Which row starts a sentence."""

    def __init__(self) -> None:
        self._before: tuple[str, str] | None = None
        self._repeats: bool | None = None
        """Whether the sentence stands in all of its rows; None until one has a second row."""
        self._known: set[tuple[str, str]] = set()
        self.notes: tuple[str, ...] = ()
        """What to say about the sentence that started last."""

    def starts(self, sentence: str, document: str, place: str) -> bool:
        """Whether a row starts a sentence. Raises DataError if that is not certain."""
        found = (document, sentence)
        if not sentence and self._before is None:
            raise DataError(f"{place} is the first row and names no sentence; put its number there")
        if not sentence or found == self._before:
            if self._repeats is not None and self._repeats != bool(sentence):
                seen = f"the sentence {sentence[:40]!r} again" if sentence else "no sentence"
                how = "only their first" if sentence else "all of them"
                raise DataError(f"{place} has {seen}, but the rows of the sentences before have it in {how}; use one way")
            self._repeats = bool(sentence)
            return False
        if found in self._known:
            raise DataError(f"{place} is of the sentence {sentence[:40]!r}, which was there before other sentences; keep the "
                            "rows of a sentence together and in order, and give each its own number")  # fmt: skip
        skips = self._repeats is False and self._before is not None and _skips(self._before[1], sentence)
        self.notes, self._before = (GAP,) if skips else (), found
        if len(self._known) < MOST_KNOWN:
            self._known.add(found)
        return True


GAP = "the numbers of sentences skip one; if it is missing in the first row of its sentence, two sentences are read as one"


def _skips(before: str, after: str) -> bool:
    one, two = _NUMBER.search(before), _NUMBER.search(after)
    return one is not None and two is not None and int(two[1]) != int(one[1]) + 1


def _columns(names: Sequence[str], renames: Mapping[str, str]) -> dict[str, str]:
    """The column of the file for each of ours, where it has one."""
    keys = {re.sub(r"[^a-z]+", "_", name.lower()).strip("_"): name for name in reversed(names)}
    usual = {ours: next((keys[key] for key in known if key in keys), None) for ours, known in ROLES.items()}
    return {ours: name for ours, name in {**usual, **renames}.items() if name is not None}


FORMAT = Format("word-table", "a table with a word in each row", TAGGED_WORDS, looks_like, read, renames=True)
