"""doccano: `{"text": ..., "label": [[0, 9, "PER"]]}` for spans, `{"text": ..., "label": ["good"]}` for labels.

Rows with relations have `entities` and `relations`, as doccano's own export of them; ids of spans are whole numbers there.
Its importer keeps other keys as metadata of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing, lines, present
from manyheads.outputs.formats.marks import plain_relations, relations_of_spans, with_ids
from manyheads.outputs.losses import COLUMNS, GROUPS, IDS, NAMES, OVERLAPS, RELATIONS

_HOLDS = frozenset({IDS, COLUMNS, GROUPS, OVERLAPS, NAMES, RELATIONS})
_ID = re.compile(r"0|[1-9]\d{0,14}", re.ASCII)


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """A line per document."""
    return lines(_row(document, writing) for document in documents)


def _row(document: Document, writing: Writing) -> dict[str, Any]:
    whole = relations_of_spans(document, writing)
    if whole.relations:
        return _related(plain_relations(with_ids(whole, set(), str, writing.losses, _ID), writing))
    writing.losses.add("ids of spans not written", document.where, sum(bool(span.id) for span in document.spans or ()))
    label: list[Any] = (
        [[span.start, span.end, span.label] for span in document.spans]
        if document.spans is not None
        else list(document.labels.names if document.labels else ())
    )
    own = present(id=document.id, text=document.text, label=label, document=document.group or None)
    return {**{key: value for key, value in document.columns.items() if key != "label"}, **own}


def _related(document: Document) -> dict[str, Any]:
    entities = [{"id": int(span.id), "label": span.label, "start_offset": span.start, "end_offset": span.end}
                for span in document.spans or ()]  # fmt: skip
    relations = [{"id": number, "from_id": int(one.head), "to_id": int(one.tail), "type": one.label}
                 for number, one in enumerate(document.relations, 1)]  # fmt: skip
    own = present(id=document.id, text=document.text, document=document.group or None)
    return {**document.columns, **own, "entities": entities, "relations": relations}


FORMAT = WriteFormat("doccano", "doccano", ("spans", "classes"), _HOLDS, encode)
