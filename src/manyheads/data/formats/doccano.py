"""doccano: spans as `[start, end, label]`, labels of texts as lists of names, or spans with relations between them.

    {"id": 1, "text": "Ada Byron wrote to London.", "label": [[0, 9, "PER"], [19, 25, "LOC"]]}
    {"id": 1, "text": "Great value.", "label": ["positive"]}
    {"id": 1, "text": "...", "entities": [{"id": 7, "label": "PER", "start_offset": 0, "end_offset": 9}], "relations": [...]}

One object per line, or one array. Older versions call the text `data`, or the spans `annotations`, whose labels are numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyheads.data.formats.annotations import Relation, Span, id_of
from manyheads.data.formats.format import SPANS_OR_LABELS, Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, rows_of
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import Record, as_label, as_list, as_object, as_text, object_list, objects
from manyheads.data.formats.rows import RawRow
from manyheads.data.formats.standoff import (
    LABELS_OF_TEXTS,
    SPANS_OF_TEXTS,
    AnnotatedText,
    left_out_of,
    relations_left_out,
    span_at,
    span_in_list,
)
from manyheads.errors import DataError

KEYS = ("label", "labels", "entities", "annotations")


def looks_like(preview: Preview) -> bool:
    """Lists of three under `label` or `labels`, a list of names under `label`, or spans with `start_offset`."""
    shape = preview.json
    if not (shape.has("text") or shape.has("data")):
        return False
    spans = any(shape.holds(f"{key}[][]", int, str) for key in ("label", "labels"))
    offsets = any(shape.has(f"{key}[].start_offset", f"{key}[].end_offset") for key in ("entities", "annotations"))
    return spans or offsets or shape.holds("label[]", str)


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows; one with a malformed span or label has an error. Raises DataError for a broken array."""
    return rows_of(schema, lambda: objects(path), _annotated, _labelled)


def _text(record: Record) -> str:
    return as_text(record.value.get("text", record.value.get("data")), record.where)


def _labels(record: Record) -> list[Any]:
    for key in KEYS:
        if record.value.get(key) is not None:
            return as_list(record.value[key], record.where, key)
    if any(key in record.value for key in KEYS):
        return []
    raise DataError(
        f"{record.where} has none of the keys {', '.join(KEYS)}; its keys are {', '.join(record.value):.500}"
    )


def _annotated(record: Record) -> AnnotatedText:
    row, where = record.value, record.where
    spans, left_out = [_span(span, where) for span in _labels(record)], left_out_of(record, "cats", LABELS_OF_TEXTS)
    relations = [
        Relation(id_of(one.get("from_id")), id_of(one.get("to_id")), as_text(one.get("type", ""), where, "type"), where=where)
        for one in object_list(row, "relations", where)
    ]
    document = id_of(row.get("document"))
    return AnnotatedText(_text(record), spans, where, document, left_out, row.get("id"), relations=relations)


def _span(span: Any, where: str) -> Span:
    if isinstance(span, list):
        return span_in_list(span, where)
    found = as_object(span, where, "entities")
    label = found.get("label")
    label = str(label) if type(label) is int else label
    whole = span_at(found.get("start_offset"), found.get("end_offset"), label, where)
    return replace(whole, id=id_of(found.get("id")))


def _labelled(record: Record) -> LabelledText:
    found = record.value.get("cats")  # where spans and labels are annotated together
    named = as_list(found, record.where, "cats") if found is not None else _labels(record)
    spans = () if named is record.value.get("entities") else left_out_of(record, "entities", SPANS_OF_TEXTS)
    labels = tuple(as_label(label, record.where) for label in named)
    return LabelledText(_text(record), labels, record.where, left_out=spans + relations_left_out(record.value, record.where))


FORMAT = Format("doccano", "doccano", SPANS_OR_LABELS, looks_like, read)
