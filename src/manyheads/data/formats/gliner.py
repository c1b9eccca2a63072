"""GLiNER: words, and spans by their first and last word.

    {"tokenized_text": ["Ada", "Byron", "wrote"], "ner": [[0, 1, "person"]]}

The last word is inclusive. The rows keep the words, so answers at these words are scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from manyheads.data.formats.annotations import Span
from manyheads.data.formats.format import TAGGED_WORDS, Format, RowSchema
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import Record, as_label, as_list, as_offset, objects
from manyheads.data.formats.rows import RawRow, row_or_error
from manyheads.data.formats.standoff import relations_left_out, without_overlaps
from manyheads.errors import DataError


def looks_like(preview: Preview) -> bool:
    """Both keys."""
    return preview.json.has("tokenized_text", "ner")


def read(path: Path, _: RowSchema) -> Iterator[RawRow]:
    """Rows; one with a malformed span, or one outside of the words, has an error. Raises DataError for a broken array."""
    return (row_or_error(record.where, partial(record.read, _row)) for record in objects(path))


def _row(record: Record) -> RawRow:
    where = record.where
    words = as_list(record.value.get("tokenized_text"), where, "tokenized_text")
    spans = []
    for span in as_list(record.value.get("ner"), where, "ner"):
        if not isinstance(span, list) or len(span) != 3:
            raise DataError(f"{where} has the span {span!r:.80}; write it as [first word, last word, label]")
        first, last, label = as_offset(span[0], where), as_offset(span[1], where), as_label(span[2], where)
        if not 0 <= first <= last < len(words):
            raise DataError(f"{where}: the span {span!r:.80} lies outside its {len(words)} words; correct it")
        spans.append(Span(((first, last + 1),), label, where=where))
    kept, left_out = without_overlaps(spans)
    tags = ["O"] * len(words)
    for one in kept:
        tags[one.start : one.end] = [f"B-{one.label}", *[f"I-{one.label}"] * (one.end - one.start - 1)]
    left = (*relations_left_out(record.value, where), *left_out)
    return RawRow({"tokens": words, "tags": tags}, where, left_out=left)


FORMAT = Format("gliner", "GLiNER", TAGGED_WORDS, looks_like, read)
