"""BioC documents (Comeau 2013), for BioC XML and BioC JSON alike: a row is a passage, rows of one document follow each other.

Passages are one character apart, as if separated by a line end; offsets count from the beginning of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from manyheads.data.formats.annotations import ROLES, Relation, Span, Value
from manyheads.data.formats.bioc import RELATION_TYPES, is_own_infon
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import Writing
from manyheads.outputs.formats.grouped import groups
from manyheads.outputs.formats.marks import attribute_texts, joined_links, with_ids
from manyheads.outputs.losses import ATTRIBUTES, GROUPS, IDENTIFIERS, IDS, NAMES, OVERLAPS, PIECES, RELATIONS, SCORES

HOLDS = frozenset({IDS, GROUPS, SCORES, IDENTIFIERS, PIECES, OVERLAPS, NAMES, ATTRIBUTES, RELATIONS})


def bioc_documents(documents: Iterable[Document], writing: Writing) -> Iterator[dict[str, Any]]:
    """The documents as BioC JSON writes them."""
    for number, group in enumerate(groups(documents), 1):
        lost = [row for row in group if row.id is not None and row.group and str(row.id) != row.group]
        writing.losses.add("ids not written", group[0].where, len(lost))
        yield _document(group, group[0].key or str(number), writing)


def _document(group: Sequence[Document], name: str, writing: Writing) -> dict[str, Any]:
    passages: list[dict[str, Any]] = []
    taken: set[str] = set()
    offset = number = 0
    for given in group:
        row = with_ids(given, taken, str, writing.losses)
        annotations = [_annotation(span, offset, row, writing) for span in row.spans or ()]
        relations = [_relation(relation, f"R{number + k}", row, writing) for k, relation in enumerate(row.relations, 1)]
        passages.append({"offset": offset, "infons": {}, "text": row.text, "sentences": [], "annotations": annotations,
                         "relations": relations})  # fmt: skip
        offset += len(row.text) + 1
        number += len(relations)
    return {"id": name, "infons": {}, "passages": passages, "annotations": [], "relations": []}


def _annotation(span: Span, offset: int, row: Document, writing: Writing) -> dict[str, Any]:
    infons = {"type": span.label}
    if span.links:
        infons["identifier"] = joined_links(span, row, writing)
    if span.score is not None:
        infons["score"] = str(span.score)
    infons |= _infons(span.attributes, row, writing, is_own_infon)
    locations = [{"offset": offset + start, "length": end - start} for start, end in span.pieces]
    return {"id": span.id, "infons": infons, "text": span.quoted(row.text), "locations": locations}


def _relation(relation: Relation, name: str, row: Document, writing: Writing) -> dict[str, Any]:
    """A relation; one of concepts has its ends in its infons."""
    kind, ends = {"type": relation.label} if relation.label else {}, (relation.head, relation.tail)
    if set(ends) <= {span.id for span in row.spans or ()}:
        infons = _infons(relation.attributes, row, writing, RELATION_TYPES.__contains__)
        nodes = [{"refid": end, "role": role} for role, end in zip(relation.roles, ends, strict=True)]
        return {"id": name, "infons": kind | infons, "nodes": nodes}
    writing.losses.add("attributes of relations of identifiers not written", row.where, len(relation.attributes))
    usable = len({*relation.roles, *RELATION_TYPES, ""}) == len(RELATION_TYPES) + 3
    writing.losses.add("roles of relations not written", row.where, not usable)
    roles = relation.roles if usable else ROLES
    return {"id": name, "infons": kind | dict(zip(roles, ends, strict=True)), "nodes": []}


def _infons(
    attributes: Mapping[str, Value], row: Document, writing: Writing, own: Callable[[str], bool]
) -> dict[str, str]:
    texts = attribute_texts(attributes, row, writing)
    taken = [name for name in texts if own(name)]
    writing.losses.add("attributes with the name of an infon not written", row.where, len(taken))
    return {name: text for name, text in texts.items() if name not in taken}
