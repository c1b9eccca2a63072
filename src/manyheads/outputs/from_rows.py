"""Labelled rows, as the readers of `data/` give them, as documents, by the form of the task's answers.

Spans that a task leaves out (overlapping and discontinuous ones) are kept: readers give all of them in `RawRow.annotated`.
Rows whose spans have scores are predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from manyheads.data.formats.annotations import KEYS, Span, relations_of_row, span_of_entry
from manyheads.data.formats.records import as_list, as_object, as_text
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import RELATIONS, AnnotatedText, checked_text
from manyheads.errors import DataError, RowError
from manyheads.outputs.documents import Document, Labels, Question
from manyheads.outputs.passthrough import as_json_columns
from manyheads.tasks.answers import AnswerForm
from manyheads.tasks.rows import text_of
from manyheads.text.answers import given_answers, placed
from manyheads.text.entities import tagged_example
from manyheads.text.joining import joined
from manyheads.text.values import is_missing, key_of, label_of, labels_of

COLUMNS: Mapping[AnswerForm, frozenset[str]] = {
    "spans": frozenset({"text", "entities", "relations", "tokens", "tags", "space_after", "id", "document"}),
    "classes": frozenset({"text", "tokens", "space_after", "label", "labels", "id", "document"}),
    "passages": frozenset({"question", "context", "answers", "answer", "answer_start", "title", "is_impossible", "id"}),
    "tags": frozenset({"tokens", "tags", "space_after", "id", "document"}),
}
"""Columns that become part of the document, by the form of the annotation."""


def document_of_row(raw: RawRow, form: AnswerForm) -> Document:
    """The document of a usable row. Raises DataError, with the place, for a row that is not of this form.

    >>> document_of_row(RawRow({"text": "Great.", "label": "good"}, "a.csv:2"), "classes").labels.names
    ('good',)
    """
    values, where = raw.values, raw.where
    try:
        made = _READ[form](raw)
        group = "" if form == "passages" else key_of(values.get("document"), "document")
        columns = {name: value for name, value in values.items() if name not in COLUMNS[form] and value is not None}
        identifier = values.get("id")
        return replace(
            made, id=None if is_missing(identifier) else identifier, group=group, columns=as_json_columns(columns)
        )
    except RowError as error:
        raise DataError(f"{where}: {error}") from None


def all_annotations(raw: RawRow) -> AnnotatedText:
    """The spans of a row with `text` and `entities`, also those that its task leaves out, and its relations.

    `left_out` is what was lost in reading. Raises DataError.
    """
    where = raw.where
    if raw.annotated is not None:  # in text order, as rows of other formats have them
        return replace(raw.annotated, spans=sorted(raw.annotated.spans, key=lambda span: span.pieces))
    text, entries = as_text(raw.values.get("text"), where), as_list(raw.values.get("entities"), where, "entities")
    spans = [span_of_entry(entry, where) for entry in entries]
    keys = (key for entry in entries for key in entry.keys() - KEYS)
    more = tuple(LeftOut(f"keys of entities ({key[:80]})", where) for key in keys)
    relations = relations_of_row(raw.values, where)
    return checked_text(AnnotatedText(text, spans, where, left_out=raw.left_out + more, relations=relations))


def _spans(raw: RawRow) -> Document:
    if "tokens" in raw.values:
        example = tagged_example(raw.values, "")
        spans = tuple(Span(((start, end),), label) for start, end, label in example.spans)
        unread = tuple(LeftOut(RELATIONS, raw.where) for _ in relations_of_row(raw.values, raw.where))
        return Document(example.text, raw.where, spans=spans, words=example.words, lost=raw.left_out + unread)
    found = all_annotations(raw)
    predicted = any(span.score is not None for span in found.spans)
    return Document(found.text, raw.where, spans=tuple(found.spans), relations=tuple(found.relations), lost=found.left_out,
                    predicted=predicted)  # fmt: skip


def _classes(raw: RawRow) -> Document:
    values, labels = raw.values, raw.values.get("labels")
    text = joined(values["tokens"], values.get("space_after"))[0] if "text" not in values else text_of(values)
    if labels is not None:
        found = Labels(labels_of(labels), several=True)
    elif "label" in values:
        found = Labels((label_of(values["label"]),), several=False)
    else:
        raise RowError("has neither 'label' nor 'labels'")
    return Document(text, raw.where, labels=found, lost=raw.left_out)


def _passages(raw: RawRow) -> Document:
    values, where = raw.values, raw.where
    context = as_text(values.get("context"), where, "context")
    question = Question(as_text(values.get("question"), where, "question"), key_of(values.get("title"), "title"))
    spans = []
    for answer in as_list(given_answers(values), where, "answers"):
        start, text = _place_of(context, answer, where)
        spans.append(Span(((start, start + len(text)),)))
    return Document(context, where, spans=tuple(spans), question=question, lost=raw.left_out)


def _place_of(context: str, answer: Any, where: str) -> tuple[int, str]:
    """Where an answer starts, and its text, which may be white space if it has an offset."""
    if isinstance(answer, str) or as_object(answer, where, "answers").get("start") is None:
        starts, text = placed(context, answer)
        return starts[0], text
    text, start = as_text(answer.get("text"), where), answer["start"]
    if type(start) is not int or start < 0 or not text or not context.startswith(text, start):
        raise DataError(f"{where} has the answer {text[:80]!r} at {start!r:.20}, where its context does not have it")
    return start, text


def _tags(raw: RawRow) -> Document:
    text, words = joined(raw.values.get("tokens"), raw.values.get("space_after"))
    tags = as_list(raw.values.get("tags"), raw.where, "tags")
    if len(tags) != len(words):
        raise RowError(f"has {len(words)} tokens and {len(tags)} tags; give each token one tag")
    return Document(text, raw.where, words=words, tags=tuple(map(label_of, tags)), lost=raw.left_out)


_READ: Mapping[AnswerForm, Callable[[RawRow], Document]] = {
    "spans": _spans, "classes": _classes, "passages": _passages, "tags": _tags,
}  # fmt: skip
FORMS = tuple(_READ)
"""Forms that documents can be made of."""
