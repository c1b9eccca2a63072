"""CoNLL columns: a word, a tab and its tag per line, a blank line after each row, `-DOCSTART-` before each document.

Decided here:
- Rows with words of their own keep them. Texts are cut into the words that heads answer for, and also where a span begins or
  ends, so that every span fits.
- Spans are written in IOB2, tags as they are.
- Columns do not hold the spaces of a text. Readers join words by their rules, and texts that this changes are counted.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Sequence

from manyheads.data.formats.annotations import Interval
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing
from manyheads.outputs.losses import GROUPS, WORDS
from manyheads.text.joining import joined
from manyheads.text.spans import tags_of_char_spans
from manyheads.text.words import words

_SPACES = re.compile(r"[\t\r\n]|^ +| +$")
"""What a column cannot hold."""


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """A block of lines per document."""
    group = ""
    for document in documents:
        if document.group != group:
            yield b"-DOCSTART-\tO\n\n"
            group = document.group
        cut = cut_at_spans(document)
        if not cut:
            writing.losses.add("rows without words not written", document.where)
            continue
        tokens = [document.text[start:end] for start, end in cut]
        if joined(tokens)[0] != document.text:
            writing.losses.add("texts whose spaces are not held", document.where)
        tags = document.tags if document.tags is not None else _tags(document, cut, writing)
        given = [cell for pair in zip(tokens, tags, strict=True) for cell in pair]
        cells = [_SPACES.sub("_", cell) for cell in given]
        changed = sum(map(operator.ne, cells, given))
        writing.losses.add("words or tags with white space replaced by _", document.where, changed)
        lines = [f"{token}\t{tag}\n" for token, tag in zip(cells[::2], cells[1::2], strict=True)]
        yield ("".join(lines) + "\n").encode("utf-8")


def cut_at_spans(document: Document) -> Sequence[Interval]:
    """The words of a text, cut where a span begins or ends; its own words as they are.

    >>> from manyheads.data.formats.annotations import Span
    >>> cut_at_spans(Document("imTarsk", "", spans=(Span(((2, 7),), "LOC"),)))
    [(0, 2), (2, 7)]
    """
    if document.words is not None:
        return document.words
    edges = sorted({edge for span in document.spans or () for edge in (span.start, span.end)})
    cut, following = [], 0
    for start, end in words(document.text):
        while following < len(edges) and edges[following] <= start:
            following += 1
        at, place = start, following
        while place < len(edges) and edges[place] < end:
            cut.append((at, edges[place]))
            at = edges[place]
            place += 1
        cut.append((at, end))
    return cut


def _tags(document: Document, cut: Sequence[Interval], writing: Writing) -> list[str]:
    spans = [(span.start, span.end, re.sub(r"\s+", "_", span.label)) for span in document.spans or ()]
    tags, aligned = tags_of_char_spans(cut, spans)
    writing.losses.add("spans that do not begin and end at words, moved", document.where, aligned.count(False))
    changed = sum(label != span.label for (_, _, label), span in zip(spans, document.spans or (), strict=True))
    writing.losses.add("labels changed to one word", document.where, changed)
    return tags


FORMAT = WriteFormat(
    "conll", "CoNLL columns", ("spans", "tags"), frozenset({WORDS, GROUPS}), encode,
    endings=(".conll", ".iob", ".iob2", ".bio"),
)  # fmt: skip
