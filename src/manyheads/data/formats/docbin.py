"""spaCy's DocBin (`.spacy`): documents saved together, with entities or categories.

spaCy itself unpacks the file, and is required for this format alone. The unpacked size is checked before. A label of `cats`
applies if its number is 0.5 or more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.annotations import Span, links_of_text
from manyheads.data.formats.format import SPANS_OR_LABELS, Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, rows_of
from manyheads.data.formats.lines import byte_stream
from manyheads.data.formats.messages import first_line
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import Record, as_label
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.spacy_json import APPLIES
from manyheads.data.formats.standoff import LABELS_OF_TEXTS, SPANS_OF_TEXTS, AnnotatedText
from manyheads.errors import DataError

MOST_BYTES = 512 << 20
"""Packed and unpacked: spaCy holds all of it in memory."""
NO_ANNOTATION = "no annotation of entities"


def looks_like(preview: Preview) -> bool:
    """The ending: the file itself is packed."""
    return preview.name.endswith(".spacy")


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Documents. Raises DataError if spaCy is missing, or the file is damaged."""
    try:
        yield from rows_of(schema, lambda: _documents(path), _annotated, _labelled)
    except DataError:
        raise
    except Exception as error:  # msgpack, numpy and spaCy raise anything over a damaged file
        raise DataError(
            f"{path} is not a readable DocBin: {type(error).__name__}: {first_line(error)}; save it again"
        ) from None


def _documents(path: Path) -> Iterator[Record]:
    """spaCy's documents, each with its place."""
    try:
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab
    except ImportError:
        raise DataError(
            f"{path} is a spaCy DocBin, which spaCy must unpack: pip install spacy, or save the texts as JSON"
        ) from None
    for number, doc in enumerate(DocBin().from_bytes(_bounded(path)).get_docs(Vocab()), 1):
        yield Record(doc, f"{path}: document {number}")


def _bounded(path: Path) -> bytes:
    """The content. Raises DataError for a file that is not packed properly, or unpacks to more than MOST_BYTES."""
    with byte_stream(path) as stream:
        content = stream.read(MOST_BYTES + 1)
    if not content:
        raise DataError(f"{path} is empty; give a file with data")
    size, unpacking, rest = 0, zlib.decompressobj(), content
    try:
        while rest and size <= MOST_BYTES:
            size += len(unpacking.decompress(rest, 1 << 20))
            rest = unpacking.unconsumed_tail
    except zlib.error as error:
        raise DataError(f"{path} is not a readable DocBin: {error}; save it again") from None
    if max(size, len(content)) > MOST_BYTES:
        raise DataError(f"{path} unpacks to more than {MOST_BYTES >> 20} MB; save it in several files")
    return content


def _annotated(record: Record) -> AnnotatedText:
    doc, where = record.value, record.where
    spans = [_span(ent, where) for ent in doc.ents]
    left_out = [LeftOut(LABELS_OF_TEXTS, where) for value in doc.cats.values() if value >= APPLIES]
    left_out += [LeftOut("spans in groups", where) for group in doc.spans.values() for _ in group]
    skip = None if doc.has_annotation("ENT_IOB") else NO_ANNOTATION
    return AnnotatedText(doc.text, spans, where, left_out=tuple(left_out), skip=skip)


def _span(ent: Any, where: str) -> Span:
    piece, label = (ent.start_char, ent.end_char), as_label(ent.label_, where)
    return Span((piece,), label, links=links_of_text(ent.kb_id_), id=ent.ent_id_, where=where)


def _labelled(record: Record) -> LabelledText:
    doc, where = record.value, record.where
    labels = tuple(as_label(label, where) for label, value in doc.cats.items() if value >= APPLIES)
    spans = [*doc.ents, *(span for group in doc.spans.values() for span in group)]
    return LabelledText(doc.text, labels, where, left_out=tuple(LeftOut(SPANS_OF_TEXTS, where) for _ in spans))


FORMAT = Format("docbin", "spaCy DocBin", SPANS_OR_LABELS, looks_like, read)
