"""doccano: `{"text": ..., "label": [[0, 9, "PER"]]}` for spans, `{"text": ..., "label": ["good"]}` for labels.

Its importer keeps other keys as metadata of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing, lines, present
from manyheads.outputs.losses import COLUMNS, GROUPS, IDS, OVERLAPS


def encode(documents: Iterable[Document], _: Writing) -> Iterator[bytes]:
    """A line per document."""
    return lines(_row(document) for document in documents)


def _row(document: Document) -> dict[str, Any]:
    label: list[Any] = (
        [[span.start, span.end, span.label] for span in document.spans]
        if document.spans is not None
        else list(document.labels.names if document.labels else ())
    )
    own = present(id=document.id, text=document.text, label=label, document=document.group or None)
    return {**{key: value for key, value in document.columns.items() if key != "label"}, **own}


FORMAT = WriteFormat("doccano", "doccano", ("spans", "classes"), frozenset({IDS, COLUMNS, GROUPS, OVERLAPS}), encode)
