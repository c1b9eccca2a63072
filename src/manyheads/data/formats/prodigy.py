"""Prodigy: one task per line, with the annotator's `answer`.

    {"text": "Ada Byron wrote.", "spans": [{"start": 0, "end": 9, "label": "PER"}], "answer": "accept"}
    {"text": "Great value.", "options": [{"id": "A"}, {"id": "B"}], "accept": ["A"], "answer": "accept"}
    {"text": "Great value.", "label": "A", "answer": "accept"}

Rejected and ignored rows are skipped and counted: a rejected label says what a text is not, which no task can use.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.format import SPANS_OR_LABELS, Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, rows_of
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import Record, as_label, as_list, as_object, as_text, objects
from manyheads.data.formats.rows import RawRow
from manyheads.data.formats.standoff import (
    LABELS_OF_TEXTS,
    SPANS_OF_TEXTS,
    AnnotatedText,
    Mention,
    left_out_of,
    mention_at,
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
    """Rows. Raises DataError for a malformed span, or an unknown answer."""
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
    mentions = [_mention(span, where) for span in as_list(row["spans"], where, "spans")]
    left_out = relations_left_out(row, where) + left_out_of(record, "accept", LABELS_OF_TEXTS)
    return AnnotatedText(as_text(row.get("text"), where), mentions, where, left_out=left_out)


def _mention(span: object, where: str) -> Mention:
    found = as_object(span, where, "spans")
    return mention_at(found.get("start"), found.get("end"), found.get("label"), where, found.get("text"))


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
