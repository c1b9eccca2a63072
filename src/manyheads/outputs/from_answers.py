"""Answers of a model as documents, by the form of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.data.formats.annotations import Span
from manyheads.errors import RowError
from manyheads.outputs.documents import Document, Labels, Question
from manyheads.outputs.passthrough import as_json_columns
from manyheads.tasks.answers import AnswerForm
from manyheads.tasks.rows import text_of
from manyheads.text.joining import joined
from manyheads.text.values import is_missing, key_of

OWN = frozenset({"text", "tokens", "space_after", "tags", "question", "context", "title", "id", "document"})
"""Columns of an input row that are not written beside the answers."""


def document_of_answers(
    answers: Mapping[str, Any],
    row: Mapping[str, Any],
    forms: Mapping[str, AnswerForm],
    where: str,
    *,
    keep: bool = False,
) -> Document | None:
    """The answers `{TASK: answer}` to a row; None if it has none of these tasks. Raises RowError for a row without text.

    `forms`: by task, at most one of each form. `keep`: with the other columns of the row.

    >>> row, answers = {"text": "Ada wrote."}, {"names": [{"start": 0, "end": 3, "label": "PER", "score": 0.9}]}
    >>> document_of_answers(answers, row, {"names": "spans"}, "a.jsonl:1").spans
    (Span(pieces=((0, 3),), label='PER', score=0.9, links=(), attributes={}, id=''),)
    """
    given = {forms[name]: answer for name, answer in answers.items() if name in forms}
    if not given:
        return None
    passages = given.get("passages")
    text, words = _text(row, passage=passages is not None)
    spans = given.get("spans", passages)
    tags = given.get("tags")
    if tags is not None:
        words = tuple((tag["start"], tag["end"]) for tag in tags)
    identifier = row.get("id")
    return Document(
        text,
        where,
        id=None if is_missing(identifier) else identifier,
        group=key_of(row.get("document"), "document"),
        spans=None if spans is None else tuple(map(span_of, spans)),
        labels=labels_of_answer(given["classes"]) if "classes" in given else None,
        question=None if passages is None else Question(str(row["question"]), key_of(row.get("title"), "title")),
        words=words,
        tags=None if tags is None else tuple(tag["tag"] for tag in tags),
        tag_scores=() if tags is None else tuple(tag["score"] for tag in tags if "score" in tag),
        columns=as_json_columns({name: value for name, value in row.items() if name not in OWN}) if keep else {},
        predicted=True,
    )


def span_of(entry: Mapping[str, Any]) -> Span:
    """A span as answers have it; a discontinuous one has `pieces`."""
    pieces = entry.get("pieces") or [(entry["start"], entry["end"])]
    return Span(tuple((start, end) for start, end in pieces), entry.get("label", ""), entry.get("score"))


def labels_of_answer(answer: Mapping[str, Any]) -> Labels:
    """`{"label", "score", "scores"}`, or `{"labels", "scores"}`."""
    scores = answer.get("scores") or {}
    if "labels" in answer:
        return Labels(tuple(answer["labels"]), True, scores)
    return Labels((answer["label"],), False, scores or {answer["label"]: answer["score"]})


def _text(row: Mapping[str, Any], *, passage: bool) -> tuple[str, tuple[tuple[int, int], ...] | None]:
    if passage and not is_missing(row.get("context")):
        return str(row["context"]), None
    if "text" not in row and "tokens" in row:
        return joined(row["tokens"], row.get("space_after"))
    try:
        return text_of(row), None
    except RowError:
        raise RowError("has answers but not the text that they are of; answer it with --keep") from None
