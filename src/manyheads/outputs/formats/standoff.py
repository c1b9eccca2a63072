"""JSON lines with spans, our own form of training data: `{"text": ..., "entities": [{"start", "end", "label"}]}`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from manyheads.outputs.documents import Document, Span
from manyheads.outputs.formats.format import WriteFormat, Writing, lines, present
from manyheads.outputs.losses import COLUMNS, GROUPS, IDENTIFIERS, IDS, OVERLAPS, PIECES, SCORES


def encode(documents: Iterable[Document], _: Writing) -> Iterator[bytes]:
    """A row per document."""
    return lines(_row(document) for document in documents)


def entity(span: Span) -> dict[str, Any]:
    """A span as an entry of `entities`.

    >>> entity(Span(((0, 4), (8, 9)), "A", identifier="D1"))
    {'start': 0, 'end': 9, 'label': 'A', 'pieces': [[0, 4], [8, 9]], 'id': 'D1'}
    """
    pieces = [list(piece) for piece in span.pieces] if len(span.pieces) > 1 else None
    return present(
        start=span.start, end=span.end, label=span.label, pieces=pieces, id=span.identifier, score=span.score
    )


def _row(document: Document) -> dict[str, Any]:
    entities = [entity(span) for span in document.spans or ()]
    return {
        **present(id=document.id, text=document.text, entities=entities, document=document.group or None),
        **document.columns,
    }


FORMAT = WriteFormat(
    "standoff", "JSON lines with spans", ("spans",),
    frozenset({SCORES, IDS, IDENTIFIERS, COLUMNS, GROUPS, PIECES, OVERLAPS}), encode,
)  # fmt: skip
