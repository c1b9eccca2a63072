"""GLiNER: words, and spans by their first and last word.

    {"tokenized_text": ["Ada", "Byron", "wrote"], "ner": [[0, 1, "person"]]}

Decided here: the last word belongs to the span. The rows keep the words, so answers at these words are scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.format import IN_WORDS, Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.records import Record, a_list, objects
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import RELATIONS, Mention, flat, label_of, offset
from manyheads.errors import DataError


def looks_like(head: Head) -> bool:
    """Both keys."""
    return head.json.has("tokenized_text", "ner")


def read(path: Path, _: Wanted) -> Iterator[RawRow]:
    """Rows. Raises DataError for a span of another form, or of words that are not there."""
    for record in objects(path):
        yield _row(record)


def _row(record: Record) -> RawRow:
    where = record.where
    words = a_list(record.value.get("tokenized_text"), where, "tokenized_text")
    mentions = []
    for span in a_list(record.value.get("ner"), where, "ner"):
        if not isinstance(span, list) or len(span) != 3:
            raise DataError(f"{where} has the span {span!r:.80}; write it as [first word, last word, label]")
        first, last, label = offset(span[0], where), offset(span[1], where), label_of(span[2], where)
        if not 0 <= first <= last < len(words):
            raise DataError(f"{where}: the span {span!r:.80} lies outside its {len(words)} words; correct it")
        mentions.append(Mention(((first, last + 1),), label, where))
    kept, left_out = flat(mentions)
    relations = a_list(record.value.get("relations") or [], where, "relations")
    tags = ["O"] * len(words)
    for mention in kept:
        ((first, stop),) = mention.pieces
        tags[first:stop] = [f"B-{mention.label}", *[f"I-{mention.label}"] * (stop - first - 1)]
    counted = (*(LeftOut(RELATIONS, where) for _ in relations), *left_out)
    return RawRow({"tokens": words, "tags": tags}, where, left_out=counted)


FORMAT = Format("gliner", "GLiNER", IN_WORDS, looks_like, read)
