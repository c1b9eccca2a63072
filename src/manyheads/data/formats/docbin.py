"""spaCy's DocBin (`.spacy`): entities, or categories, of documents that were saved together.

Decided here: spaCy itself unpacks it, and is wanted for this format alone. What the file unpacks to is bounded before. A
label of `cats` holds where its number is 0.5 or more.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from manyheads.data.formats.format import MARKED_OR_LABELLED, Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.labelled import Labelled, rows_of
from manyheads.data.formats.lines import byte_stream
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.spacy_json import HOLDS
from manyheads.data.formats.standoff import Marked, Mention, label_of, row_of
from manyheads.errors import DataError

MOST_BYTES = 512 << 20
"""Packed and unpacked: spaCy holds all of it in memory."""
NO_ANNOTATION = "no annotation of entities"
T = TypeVar("T")


def looks_like(head: Head) -> bool:
    """The ending: the file itself is packed."""
    return head.name.endswith(".spacy")


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Documents. Raises DataError where spaCy is missing, or the file is damaged."""
    if wanted.wants("label", "labels"):
        yield from rows_of(lambda: _taken(path, _labelled), single=wanted.wants("label"))
        return
    for marked, annotated in _taken(path, _marked):
        yield row_of(marked) if annotated else RawRow({"text": marked.text}, marked.where, skip=NO_ANNOTATION)


def _taken(path: Path, take: Callable[[Any, str], T]) -> Iterator[T]:
    """What is taken of each document. Raises DataError where spaCy is missing, or makes nothing of the file."""
    try:
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab
    except ImportError:
        raise DataError(
            f"{path} is a spaCy DocBin, which spaCy must unpack: pip install spacy, or save the texts as JSON"
        ) from None
    content = _bounded(path)
    try:
        documents = DocBin().from_bytes(content).get_docs(Vocab())
        found = [take(doc, f"{path}: document {number}") for number, doc in enumerate(documents, 1)]
    except DataError:
        raise
    except Exception as error:  # whatever msgpack, numpy and spaCy make of a damaged file
        said = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"{path} is no DocBin that can be read: {type(error).__name__}: {said}; save it again"
        ) from None
    yield from found


def _bounded(path: Path) -> bytes:
    """The content. Raises DataError for a file that is not packed as it should, or unpacks to more than MOST_BYTES."""
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
        raise DataError(f"{path} is no DocBin that can be read: {error}; save it again") from None
    if max(size, len(content)) > MOST_BYTES:
        raise DataError(f"{path} unpacks to more than {MOST_BYTES >> 20} MB; save it in several files")
    return content


def _marked(doc: Any, where: str) -> tuple[Marked, bool]:
    """The text with its entities, and whether somebody looked for any."""
    mentions = [Mention(((ent.start_char, ent.end_char),), label_of(ent.label_, where), where) for ent in doc.ents]
    left_out = [LeftOut("identifiers of entities", where) for ent in doc.ents if ent.kb_id_]
    left_out += [LeftOut("spans in groups", where) for group in doc.spans.values() for _ in group]
    return Marked(doc.text, mentions, where, left_out=tuple(left_out)), doc.has_annotation("ENT_IOB")


def _labelled(doc: Any, where: str) -> Labelled:
    held = tuple(label_of(label, where) for label, value in doc.cats.items() if value >= HOLDS)
    return Labelled(doc.text, held, where)


FORMAT = Format("docbin", "spaCy DocBin", MARKED_OR_LABELLED, looks_like, read)
