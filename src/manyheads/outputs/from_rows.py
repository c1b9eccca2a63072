"""Labelled rows, as the readers of `data/` give them, as documents, by the form of the task's answers.

Spans that a task leaves out (overlapping and discontinuous ones) are kept: readers give all of them in `RawRow.spans`. Rows
whose spans have scores are predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import repeat
from typing import Any

from manyheads.data.formats.records import as_list, as_object, as_text
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.standoff import (
    DISCONTINUOUS,
    IDENTIFIERS,
    OVERLAPPING,
    REPEATED,
    Mention,
    checked,
    mention_at,
)
from manyheads.errors import DataError, RowError
from manyheads.outputs.documents import Document, Labels, Question, Span
from manyheads.outputs.passthrough import as_json_columns
from manyheads.tasks.answers import AnswerForm
from manyheads.tasks.rows import text_of
from manyheads.text.entities import tagged_example
from manyheads.text.joining import joined
from manyheads.text.values import is_missing, key_of, label_of, labels_of

COLUMNS: Mapping[AnswerForm, frozenset[str]] = {
    "spans": frozenset({"text", "entities", "tokens", "tags", "space_after", "id", "document"}),
    "classes": frozenset({"text", "tokens", "space_after", "label", "labels", "id", "document"}),
    "passages": frozenset({"question", "context", "answers", "title", "is_impossible", "id"}),
    "tags": frozenset({"tokens", "tags", "space_after", "id", "document"}),
}
"""Columns that become part of the document, by the form of the annotation."""
MISPLACED = "discontinuous spans that do not fit their text"


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


def all_spans(raw: RawRow) -> tuple[list[Span], list[LeftOut]]:
    """The spans of a row with `text` and `entities`, also those that its task leaves out; and what was lost in reading.

    Raises DataError.
    """
    text, where = as_text(raw.values.get("text"), raw.where), raw.where
    mentions: Iterable[Mention] | None = raw.spans
    scores: Iterable[float | None] = repeat(None)
    if mentions is None:
        entries = as_list(raw.values.get("entities"), where, "entities")
        mentions = [checked(text, _mention(entry, where)) for entry in entries]
        scores = [entry["score"] if isinstance(entry.get("score"), float) else None for entry in entries]
    spans, misplaced, kept = [], list[LeftOut](), {DISCONTINUOUS, OVERLAPPING, REPEATED}
    for mention, score in zip(mentions, scores, strict=False):
        if len(mention.pieces) > 1 and not _fits(text, mention):
            misplaced.append(LeftOut(MISPLACED, mention.where))
            continue
        if mention.identifier:
            kept.add(IDENTIFIERS)
        spans.append(Span(mention.pieces, mention.label, score, mention.identifier or None))
    lost = [part for part in raw.left_out if raw.spans is None or part.what not in kept]
    if raw.spans is not None:
        spans.sort(key=lambda span: span.pieces)  # in text order, as rows of other formats have them
    return spans, [*lost, *misplaced]


def _fits(text: str, mention: Mention) -> bool:
    """Whether the pieces of a discontinuous span are in order, in the text, and what the file quotes, but for white space."""
    edges = [edge for piece in mention.pieces for edge in piece]
    inside = edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= len(text)
    whole = inside and all(start < end for start, end in mention.pieces)
    found = "".join(text[start:end] for start, end in mention.pieces)
    return whole and (mention.text is None or "".join(found.split()) == "".join(mention.text.split()))


def _spans(raw: RawRow) -> Document:
    if "tokens" in raw.values:
        example = tagged_example(raw.values, "")
        spans = tuple(Span(((start, end),), label) for start, end, label in example.spans)
        return Document(example.text, raw.where, spans=spans, words=example.words, lost=raw.left_out)
    found, lost = all_spans(raw)
    predicted = any(span.score is not None for span in found)
    return Document(raw.values["text"], raw.where, spans=tuple(found), lost=tuple(lost), predicted=predicted)


def _mention(entry: Any, where: str) -> Mention:
    """An entry of `entities`."""
    found = as_object(entry, where, "entities")
    whole = mention_at(found.get("start"), found.get("end"), found.get("label"), where, found.get("text"))
    name = found.get("id")
    pieces = as_list(found.get("pieces") or [], where, "pieces")
    if not pieces:
        return replace(whole, identifier=name if isinstance(name, str) else "")
    if not all(isinstance(piece, list) and len(piece) == 2 for piece in pieces):
        raise DataError(f"{where} has the pieces {pieces!r:.80}; write them as [[start, end], ...]")
    parts = tuple(mention_at(start, end, whole.label, where).pieces[0] for start, end in pieces)
    return Mention(parts, whole.label, where, None, name if isinstance(name, str) else "")


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
    for answer in as_list(values.get("answers"), where, "answers"):
        found = as_object(answer, where, "answers")
        text, start = as_text(found.get("text"), where), found.get("start")
        if type(start) is not int or start < 0 or not text or not context.startswith(text, start):
            raise DataError(
                f"{where} has the answer {text[:80]!r} at {start!r:.20}, where its context does not have it"
            )
        spans.append(Span(((start, start + len(text)),)))
    return Document(context, where, spans=tuple(spans), question=question, lost=raw.left_out)


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
