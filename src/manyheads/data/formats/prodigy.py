"""Prodigy: one task per line, with the annotator's `answer`.

    {"text": "Ada Byron wrote.", "spans": [{"start": 0, "end": 9, "label": "PER"}], "answer": "accept"}
    {"text": "Great value.", "options": [{"id": "A"}, {"id": "B"}], "accept": ["A"], "answer": "accept"}
    {"text": "Great value.", "label": "A", "answer": "accept"}

Prodigy keeps keys of spans that it does not know, so `id`, `attributes` and `links` are read as in our own rows. A relation
holds between the spans at the offsets of its `head_span` and `child_span`; one between words that are no spans is counted.

Rejected and ignored rows are skipped and counted: a rejected label says what a text is not, which no task can use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from manyheads.data.formats.annotations import Relation, Span, id_of, relations_of_row, span_of_entry
from manyheads.data.formats.format import SPANS_OR_LABELS, Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, rows_of
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import Record, as_label, as_list, as_object, as_text, object_list, objects
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import (
    LABELS_OF_TEXTS,
    RELATIONS,
    SPANS_OF_TEXTS,
    AnnotatedText,
    left_out_of,
    relations_left_out,
)
from manyheads.errors import DataError

ANSWERS = ("accept", "reject", "ignore")


def looks_like(preview: Preview) -> bool:
    """An `answer` that is one of three, or the hashes that Prodigy gives its tasks."""
    shape = preview.json
    answered = shape.holds("answer", str) and set(shape.values("answer")) <= set(ANSWERS)
    return shape.has("text") and (answered or shape.has("_input_hash", "_task_hash"))


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows; one with a malformed span, or an unknown answer, has an error."""
    return rows_of(schema, lambda: objects(path), _annotated, _labelled)


def _skip(record: Record) -> str | None:
    """Why the row is not used."""
    answer = record.value.get("answer", "accept")
    if answer not in ANSWERS:
        raise DataError(f"{record.where} has the answer {answer!r:.80}, which is none of {', '.join(ANSWERS)}")
    return None if answer == "accept" else f"answer: {answer}"


def _annotated(record: Record) -> AnnotatedText:
    row, where = record.value, record.where
    if skip := _skip(record):
        return AnnotatedText("", (), where, skip=skip)
    if "spans" not in row:
        raise DataError(f"{where} has no 'spans'; a text without any has an empty list")
    spans = [span_of_entry(span, where) for span in as_list(row["spans"], where, "spans")]
    spans, relations, lost = _related(spans, object_list(row, "relations", where), where)
    left_out = (*lost, *left_out_of(record, "accept", LABELS_OF_TEXTS))
    meta = row["meta"] if isinstance(row.get("meta"), dict) else {}
    text, document = as_text(row.get("text"), where), id_of(meta.get("document"))
    return AnnotatedText(text, spans, where, document, left_out, meta.get("id"), relations=relations)


def _related(
    spans: list[Span], entries: list[dict[str, Any]], where: str
) -> tuple[list[Span], list[Relation], list[LeftOut]]:
    """The spans, with ids if there are relations; the relations; and those between words that are no spans."""
    if not entries:
        return spans, [], []
    taken = {span.id for span in spans}
    fresh = (name for name in map(str, count(1)) if name not in taken)
    named = [span if span.id else replace(span, id=next(fresh)) for span in spans]
    places: dict[Any, str] = {
        (span.start, span.end, label): span.id for span in reversed(named) for label in (span.label, None)
    }
    relations, lost = [], list[LeftOut]()
    for entry in entries:
        ends = [as_object(entry.get(key) or {}, where, key) for key in ("head_span", "child_span")]
        names = [places.get((end.get("start"), end.get("end"), end.get("label"))) for end in ends]
        given = [str(end["id"]) if end.get("id") in taken else name for end, name in zip(ends, names, strict=True)]
        if given[0] is None or given[1] is None:
            lost.append(LeftOut(RELATIONS, where))
            continue
        relations += relations_of_row({"relations": [{**entry, "head": given[0], "tail": given[1]}]}, where)
    return named, relations, lost


def _labelled(record: Record) -> LabelledText:
    row, where = record.value, record.where
    text, skip = as_text(row.get("text"), where), _skip(record)
    if skip:
        return LabelledText(text, (), where, skip)
    left_out = left_out_of(record, "spans", SPANS_OF_TEXTS) + relations_left_out(row, where)
    if "accept" in row:
        accepted = tuple(as_label(one, where) for one in as_list(row["accept"], where, "accept"))
        return LabelledText(text, accepted, where, left_out=left_out)
    if "label" not in row:
        raise DataError(f"{where} has neither 'accept' nor 'label'; export the answers of a text classification")
    return LabelledText(text, (as_label(row["label"], where),), where, left_out=left_out)


FORMAT = Format(
    "prodigy",
    "Prodigy",
    SPANS_OR_LABELS,
    looks_like,
    read,
    wins_over_own_rows=True,  # "reject" reverses the meaning of a label
)
