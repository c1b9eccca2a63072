"""Prodigy: one task per line. Gold rows have the answer `accept`; predictions have none, so that they can be annotated.

    {"text": "Ada Byron wrote.", "spans": [{"start": 0, "end": 9, "label": "PER"}], "answer": "accept"}
    {"text": "Great value.", "options": [{"id": "good", "text": "good"}], "accept": ["good"], "answer": "accept"}

One label of a text is written as `label` in gold data, and as a chosen option (`ner.manual` and `choice` show both kinds) in
predictions. Ids, documents and other columns are in `meta`, which Prodigy shows below the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from manyheads.outputs.documents import Document, Span
from manyheads.outputs.formats.format import WriteFormat, Writing, lines, present
from manyheads.outputs.losses import COLUMNS, GROUPS, IDS, OVERLAPS, SCORES


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """A line per document."""
    return lines(_row(document, writing) for document in documents)


def _row(document: Document, writing: Writing) -> dict[str, Any]:
    labels = document.labels
    row: dict[str, Any] = {"text": document.text}
    if document.spans is not None:
        row["spans"] = [_span(span) for span in document.spans]
    elif labels is not None and (labels.several or document.predicted):
        row["options"] = [
            present(id=name, text=name, score=labels.scores.get(name))
            for name in dict.fromkeys([*writing.labels(), *labels.names])
        ]
        row["accept"] = list(labels.names)
    elif labels is not None:
        row["label"] = labels.names[0]
    meta = present(**{**document.columns, "id": document.id, "document": document.group or None})
    return row | ({"meta": meta} if meta else {}) | ({} if document.predicted else {"answer": "accept"})


def _span(span: Span) -> dict[str, Any]:
    return present(start=span.start, end=span.end, label=span.label, score=span.score)


FORMAT = WriteFormat(
    "prodigy", "Prodigy", ("spans", "classes"), frozenset({SCORES, IDS, COLUMNS, GROUPS, OVERLAPS}), encode
)
