"""JSON lines with spans, our own form of training data, which `data/formats/annotations.py` describes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from manyheads.data.formats.annotations import entity, relation_entry
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing, lines, present
from manyheads.outputs.losses import (
    ATTRIBUTES,
    COLUMNS,
    GROUPS,
    IDENTIFIERS,
    IDS,
    NAMES,
    OVERLAPS,
    PIECES,
    RELATIONS,
    SCORES,
)


def encode(documents: Iterable[Document], _: Writing) -> Iterator[bytes]:
    """A row per document."""
    return lines(_row(document) for document in documents)


def _row(document: Document) -> dict[str, Any]:
    entities, relations = list(map(entity, document.spans or ())), list(map(relation_entry, document.relations))
    return {
        **present(id=document.id, text=document.text, entities=entities, relations=relations or None,
                  document=document.group or None),
        **document.columns,
    }  # fmt: skip


FORMAT = WriteFormat(
    "standoff", "JSON lines with spans", ("spans",),
    frozenset({SCORES, IDS, IDENTIFIERS, COLUMNS, GROUPS, PIECES, OVERLAPS, NAMES, ATTRIBUTES, RELATIONS}), encode,
)  # fmt: skip
