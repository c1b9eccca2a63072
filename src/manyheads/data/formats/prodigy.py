"""Prodigy: one task a line, with the annotator's `answer`.

    {"text": "Ada Byron wrote.", "spans": [{"start": 0, "end": 9, "label": "PER"}], "answer": "accept"}
    {"text": "Great value.", "options": [{"id": "A"}, {"id": "B"}], "accept": ["A"], "answer": "accept"}
    {"text": "Great value.", "label": "A", "answer": "accept"}

Decided here: rows that were rejected or ignored are passed over and counted. That a label was rejected says what a text
is not, for which no task has a place.
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

ANSWERS = ("accept", "reject", "ignore")


def looks_like(head: Head) -> bool:
    """An `answer` that is one of three, or the hashes that Prodigy gives its tasks."""
    shape = head.json
    answered = shape.holds("answer", str) and set(shape.values("answer")) <= set(ANSWERS)
    return shape.has("text") and (answered or shape.has("_input_hash", "_task_hash"))


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Rows. Raises DataError for a span of another form, or an unknown answer."""
    if wanted.wants("label", "labels"):
        yield from rows_of(lambda: (_labelled(record) for record in objects(path)), single=wanted.wants("label"))
        return
    for record in objects(path):
        skip = _skip(record)
        yield RawRow({"text": ""}, record.where, skip=skip) if skip else row_of(_marked(record))


def _skip(record: Record) -> str | None:
    """Why the row is not used."""
    answer = record.value.get("answer", "accept")
    if answer not in ANSWERS:
        raise DataError(f"{record.where} has the answer {answer!r:.80}, which is none of {', '.join(ANSWERS)}")
    return None if answer == "accept" else f"answer: {answer}"


def _marked(record: Record) -> Marked:
    row, where = record.value, record.where
    if "spans" not in row:
        raise DataError(f"{where} has no 'spans'; a text without any has an empty list")
    mentions = tuple(_mention(an_object(span, where, "spans"), where) for span in a_list(row["spans"], where, "spans"))
    relations = a_list(row.get("relations") or [], where, "relations")
    left_out = tuple(LeftOut(RELATIONS, where) for _ in relations)
    return Marked(text_in(row.get("text"), where), mentions, where, left_out=left_out)


def _mention(span: dict[str, Any], where: str) -> Mention:
    pieces = ((offset(span.get("start"), where), offset(span.get("end"), where)),)
    text = span.get("text")
    return Mention(pieces, label_of(span.get("label"), where), where, text if isinstance(text, str) else None)


def _labelled(record: Record) -> Labelled:
    row, where = record.value, record.where
    text, skip = text_in(row.get("text"), where), _skip(record)
    if skip:
        return Labelled(text, (), where, skip)
    if "accept" in row:
        return Labelled(text, tuple(label_of(one, where) for one in a_list(row["accept"], where, "accept")), where)
    if "label" not in row:
        raise DataError(f"{where} has neither 'accept' nor 'label'; export the answers of a text classification")
    return Labelled(text, (label_of(row["label"], where),), where)


FORMAT = Format(
    "prodigy",
    "Prodigy",
    MARKED_OR_LABELLED,
    looks_like,
    read,
    wins_over_own_rows=True,  # "reject" turns the meaning of a label round
)
