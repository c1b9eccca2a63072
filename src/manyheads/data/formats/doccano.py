"""doccano: spans as `[start, end, label]`, labels of texts as lists of names, or spans with relations between them.

    {"id": 1, "text": "Ada Byron wrote to London.", "label": [[0, 9, "PER"], [19, 25, "LOC"]]}
    {"id": 1, "text": "Great value.", "label": ["positive"]}
    {"id": 1, "text": "...", "entities": [{"id": 7, "label": "PER", "start_offset": 0, "end_offset": 9}], "relations": [...]}

Decided here: one object a line or one array; the text is `text`, or `data` as older versions have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import MARKED_OR_LABELLED, Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.labelled import Labelled, rows_of
from manyheads.data.formats.records import Record, a_list, an_object, objects
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import RELATIONS, Marked, Mention, label_of, offset, row_of, text_in
from manyheads.errors import DataError

KEYS = ("label", "labels", "entities")


def looks_like(head: Head) -> bool:
    """Lists of three under `label` or `labels`, names in a list under `label`, or spans with `start_offset`."""
    shape = head.json
    if not (shape.has("text") or shape.has("data")):
        return False
    spans = any(shape.holds(f"{key}[][]", int, str) for key in ("label", "labels"))
    return spans or shape.holds("label[]", str) or shape.has("entities[].start_offset", "entities[].end_offset")


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Rows. Raises DataError for a span or label of another form."""
    if wanted.wants("label", "labels"):
        yield from rows_of(lambda: (_labelled(record) for record in objects(path)), single=wanted.wants("label"))
    else:
        for record in objects(path):
            yield row_of(_marked(record))


def _text(record: Record) -> str:
    return text_in(record.value.get("text", record.value.get("data")), record.where)


def _labels(record: Record) -> list[Any]:
    for key in KEYS:
        if record.value.get(key) is not None:
            return a_list(record.value[key], record.where, key)
    if any(key in record.value for key in KEYS):
        return []
    raise DataError(
        f"{record.where} has none of the keys {', '.join(KEYS)}; its keys are {', '.join(record.value):.500}"
    )


def _marked(record: Record) -> Marked:
    mentions = tuple(_mention(span, record.where) for span in _labels(record))
    relations = a_list(record.value.get("relations") or [], record.where, "relations")
    left_out = tuple(LeftOut(RELATIONS, record.where) for _ in relations)
    return Marked(_text(record), mentions, record.where, left_out=left_out, id=record.value.get("id"))


def _mention(span: Any, where: str) -> Mention:
    if isinstance(span, list):
        if len(span) != 3:
            raise DataError(f"{where} has the span {span!r:.80}; write it as [start, end, label]")
        start, end, label = span
    else:
        found = an_object(span, where, "entities")
        start, end, label = (found.get(key) for key in ("start_offset", "end_offset", "label"))
    return Mention(((offset(start, where), offset(end, where)),), label_of(label, where), where)


def _labelled(record: Record) -> Labelled:
    labels = tuple(label_of(label, record.where) for label in _labels(record))
    return Labelled(_text(record), labels, record.where)


FORMAT = Format("doccano", "doccano", MARKED_OR_LABELLED, looks_like, read)
