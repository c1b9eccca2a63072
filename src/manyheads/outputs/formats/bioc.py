"""BioC documents (Comeau 2013), for BioC XML and BioC JSON alike: a row is a passage, rows of one document follow each other.

Passages are one character apart, as if separated by a line end; offsets count from the beginning of the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import Writing
from manyheads.outputs.formats.grouped import groups
from manyheads.outputs.losses import GROUPS, IDENTIFIERS, IDS, OVERLAPS, PIECES, SCORES

HOLDS = frozenset({IDS, GROUPS, SCORES, IDENTIFIERS, PIECES, OVERLAPS})


def bioc_documents(documents: Iterable[Document], writing: Writing) -> Iterator[dict[str, Any]]:
    """The documents as BioC JSON writes them."""
    for number, group in enumerate(groups(documents), 1):
        lost = [row for row in group if row.id is not None and row.group and str(row.id) != row.group]
        writing.losses.add("ids not written", group[0].where, len(lost))
        yield _document(group, group[0].key or str(number))


def _document(group: Sequence[Document], name: str) -> dict[str, Any]:
    passages: list[dict[str, Any]] = []
    offset = number = 0
    for row in group:
        annotations = []
        for span in row.spans or ():
            number += 1
            infons = {"type": span.label}
            if span.identifier is not None:
                infons["identifier"] = span.identifier
            if span.score is not None:
                infons["score"] = str(span.score)
            locations = [{"offset": offset + start, "length": end - start} for start, end in span.pieces]
            annotations.append(
                {"id": str(number), "infons": infons, "text": span.quoted(row.text), "locations": locations}
            )
        passages.append({"offset": offset, "infons": {}, "text": row.text, "sentences": [], "annotations": annotations,
                         "relations": []})  # fmt: skip
        offset += len(row.text) + 1
    return {"id": name, "infons": {}, "passages": passages, "annotations": [], "relations": []}
