"""BioC documents, whether they come as XML or as JSON (Comeau 2013).

A passage is a row, and the passages of a document stay together when data is split. A passage without a text of its own has
sentences, each of which is a row. Offsets of annotations count from the beginning of the document.

Infons that name an entry of a database are identifiers, others attributes. A relation has two nodes; or, as in BC5CDR, two
infons with identifiers, whose keys are the roles (`role1` and `role2` in PubTator 3, each after its type). It goes to the
first row that has both of its ends; relations between rows are counted.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from manyheads.data.formats.annotations import ROLES, Relation, Span, Value, attribute_of_text, links_of_text, with_ends
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import RELATIONS, AnnotatedText, entity_row
from manyheads.errors import DataError

TYPES = ("type", "Type")
"""Infons that name the label."""
RELATION_TYPES = (*TYPES, "relation")
_PUBTATOR = ("role1", "role2")
_IDENTITY = re.compile(
    r"identifier|mesh|ncbi|omim|accession|database|normali[sz]ed|(^|[_ -])(id|cui|taxonomy)$", re.IGNORECASE
)
"""Infons that name an entry of a database; others are attributes."""


def is_own_infon(name: str) -> bool:
    """Whether an infon of a span is not an attribute."""
    return name in (*TYPES, "score") or _IDENTITY.search(name) is not None


@dataclass(slots=True)
class Annotation:
    """A span, with offsets into its document."""

    infons: dict[str, str]
    locations: list[tuple[int, int]]
    """Offset and length."""
    text: str
    where: str
    id: str = ""


@dataclass(slots=True)
class Link:
    """A relation."""

    infons: dict[str, str]
    nodes: list[tuple[str, str]]
    """The id of an annotation, and its role."""
    where: str


@dataclass(slots=True)
class Passage:
    """A passage, or a sentence of one."""

    where: str
    offset: int = 0
    text: str | None = None
    annotations: list[Annotation] = field(default_factory=list)
    sentences: list[Passage] = field(default_factory=list)
    relations: list[Link] = field(default_factory=list)


def rows_of(
    document: str, passages: Sequence[Passage], annotations: Sequence[Annotation], relations: Sequence[Link], where: str
) -> Iterator[RawRow]:
    """The rows of a document. `annotations` and `relations`: those outside of passages."""
    _distribute(passages, annotations)
    if not passages:
        yield RawRow({"text": ""}, where, skip="document without a passage")
        return
    parts = [part for passage in passages for part in _parts(passage)]
    waiting: list[Relation] = []
    left = []
    for link in (*relations, *(link for part in parts for link in part.relations)):
        relation = _relation(link)
        left += [LeftOut(RELATIONS, link.where)] if relation is None else []
        waiting += [] if relation is None else [relation]
    for number, part in enumerate(parts, 1):
        spans = list(map(_span, part.annotations, repeat(part.offset)))
        usable = bool(part.text or part.annotations)
        held = set(with_ends(waiting, spans)) if usable else set()
        here = [relation for relation in waiting if relation in held]
        waiting = [relation for relation in waiting if relation not in held]
        if number == len(parts):
            left += [LeftOut(RELATIONS, relation.where) for relation in waiting]
        if usable:
            yield entity_row(
                AnnotatedText(part.text or "", spans, part.where, document, tuple(left), document or None, relations=here)
            )
            left = []
        else:
            yield RawRow({"text": ""}, part.where, skip="passage without a text")


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
        relations = passage.relations + [one for sentence in passage.sentences for one in sentence.relations]
        yield Passage(passage.where, passage.offset, passage.text, annotations, [], relations)
        return
    annotations, relations = passage.annotations, passage.relations  # they go with the first sentence
    for sentence in passage.sentences:
        yield Passage(sentence.where, sentence.offset, sentence.text, annotations + sentence.annotations, [],
                      relations + sentence.relations)  # fmt: skip
        annotations, relations = [], []


def _span(annotation: Annotation, base: int) -> Span:
    """The span, with its offsets counted from `base`. Raises DataError for one without type or location."""
    infons, where = annotation.infons, annotation.where
    kind = next((key for key in TYPES if infons.get(key, "").strip()), None)
    if kind is None:
        raise DataError(f'{where} is an annotation without a type; give it <infon key="type">')
    if not annotation.locations:
        raise DataError(f"{where} is an annotation without a location; give it one, or remove it")
    pieces = tuple((at - base, at - base + length) for at, length in annotation.locations)
    links = [link for key, value in infons.items() if _IDENTITY.search(key) for link in links_of_text(value.strip())]
    score = _score(infons.get("score", ""))
    taken = {kind, "score"} if score is not None else {kind}
    others = {key: value for key, value in infons.items() if key not in taken and not _IDENTITY.search(key)}
    return Span(pieces, infons[kind].strip(), score, tuple(links), _attributes(others), annotation.id, where,
                annotation.text or None)  # fmt: skip


def _relation(link: Link) -> Relation | None:
    """The relation, if it has two ends."""
    kind = next((key for key in RELATION_TYPES if link.infons.get(key)), "")
    others = {key: value for key, value in link.infons.items() if key != kind}
    ends = [(role, end) for end, role in link.nodes]
    if others.keys() >= set(_PUBTATOR):  # its nodes have numbers of their own
        ends = [(role, others.pop(role).rpartition("|")[2]) for role in _PUBTATOR]
    elif not ends and len(others) == len(ROLES):
        ends, others = list(others.items()), {}
    if len(ends) != len(ROLES):
        return None
    ((one, head), (two, tail)), label = ends, link.infons.get(kind, "").strip()
    return Relation(head, tail, label, (one or ROLES[0], two or ROLES[1]), _attributes(others), link.where)


def _attributes(infons: Mapping[str, str]) -> dict[str, Value]:
    return {key: attribute_of_text(value) for key, value in infons.items() if value.strip()}


def _score(text: str) -> float | None:
    """The number that a model gave a span, as we write it."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if str(found) == text and math.isfinite(found) else None
