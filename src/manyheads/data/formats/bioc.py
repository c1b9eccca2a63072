"""BioC documents, whether they come as XML or as JSON (Comeau 2013).

A passage is a row, and the passages of a document stay together when data is split. A passage without a text of its own has
sentences, each of which is a row. Offsets of annotations count from the beginning of the document.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import ATTRIBUTES, IDENTIFIERS, RELATIONS, AnnotatedText, Mention, entity_row
from manyheads.errors import DataError

TYPES = ("type", "Type")
"""Infons that name the label."""
IDENTITIES = ("identifier", "MESH", "NCBI Gene", "NCBI Homologene", "OMIM", "database_id")
_IDENTITY = re.compile(
    r"identifier|mesh|ncbi|omim|accession|database|normali[sz]ed|(^|[_ -])(id|cui|taxonomy)$", re.IGNORECASE
)
"""Infons that name an entry of a database; others are attributes."""


@dataclass(slots=True)
class Annotation:
    """A span, with offsets into its document."""

    infons: dict[str, str]
    locations: list[tuple[int, int]]
    """Offset and length."""
    text: str
    where: str


@dataclass(slots=True)
class Passage:
    """A passage, or a sentence of one."""

    where: str
    offset: int = 0
    text: str | None = None
    annotations: list[Annotation] = field(default_factory=list)
    sentences: list[Passage] = field(default_factory=list)
    relations: list[str] = field(default_factory=list)
    """Their places."""


def rows_of(
    document: str, passages: Sequence[Passage], annotations: Sequence[Annotation], relations: Sequence[str], where: str
) -> Iterator[RawRow]:
    """The rows of a document. `annotations` and `relations` (their places): those outside of passages."""
    _distribute(passages, annotations)
    if not passages:
        yield RawRow({"text": ""}, where, skip="document without a passage")
    left = tuple(LeftOut(RELATIONS, place) for place in relations)
    for passage in passages:
        for part in _parts(passage):
            yield _row(part, document, left)
            left = ()


def _distribute(passages: Sequence[Passage], annotations: Sequence[Annotation]) -> None:
    """Give the annotations of a document to the passages they begin in."""
    known = sorted(passages, key=lambda passage: passage.offset)
    starts = [passage.offset for passage in known]
    for annotation in annotations:
        if not known:
            raise DataError(f"{annotation.where} is an annotation of a document without a passage; remove it")
        begin = annotation.locations[0][0] if annotation.locations else 0
        known[max(0, bisect_right(starts, begin) - 1)].annotations.append(annotation)


def _parts(passage: Passage) -> Iterator[Passage]:
    """The parts with a text: the passage with the annotations of its sentences, or its sentences."""
    if passage.text or not passage.sentences:
        annotations = passage.annotations + [one for sentence in passage.sentences for one in sentence.annotations]
        relations = passage.relations + [place for sentence in passage.sentences for place in sentence.relations]
        yield Passage(passage.where, passage.offset, passage.text, annotations, [], relations)
        return
    annotations, relations = passage.annotations, passage.relations  # they go with the first sentence
    for sentence in passage.sentences:
        yield Passage(sentence.where, sentence.offset, sentence.text, annotations + sentence.annotations, [],
                      relations + sentence.relations)  # fmt: skip
        annotations, relations = [], []


def _row(passage: Passage, document: str, left_out: tuple[LeftOut, ...]) -> RawRow:
    if not passage.text and not passage.annotations:
        return RawRow({"text": ""}, passage.where, skip="passage without a text")
    left = [*left_out, *(LeftOut(RELATIONS, place) for place in passage.relations)]
    mentions = []
    for annotation in passage.annotations:
        label = next((annotation.infons[key] for key in TYPES if annotation.infons.get(key)), None)
        if label is None:
            raise DataError(f'{annotation.where} is an annotation without a type; give it <infon key="type">')
        if not annotation.locations:
            raise DataError(f"{annotation.where} is an annotation without a location; give it one, or remove it")
        pieces = tuple((at - passage.offset, at - passage.offset + length) for at, length in annotation.locations)
        identifier = next((annotation.infons[key] for key in IDENTITIES if annotation.infons.get(key)), "")
        mentions.append(Mention(pieces, label, annotation.where, annotation.text or None, identifier))
        others = {bool(_IDENTITY.search(key)) for key, value in annotation.infons.items() if value and key not in TYPES}
        left += [LeftOut(IDENTIFIERS if identity else ATTRIBUTES, annotation.where) for identity in sorted(others)]
    text = passage.text or ""
    return entity_row(AnnotatedText(text, mentions, passage.where, document, tuple(left), document or None))
