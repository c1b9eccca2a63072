"""SQuAD v2 JSON: articles by title, their paragraphs, and the questions on each.

Questions that follow each other with the same title and context share a paragraph, as in reading. Of a model's answers the
best one is written; a question without any is unanswerable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing
from manyheads.outputs.losses import IDS, OVERLAPS, SCORES


def encode(documents: Iterable[Document], writing: Writing) -> Iterator[bytes]:
    """The data set, an article at a time."""
    before = b'{"version": "v2.0", "data": ['
    numbered = enumerate(documents, 1)
    for title, article in groupby(numbered, key=lambda entry: entry[1].question.title if entry[1].question else ""):
        paragraphs = [
            {"context": context, "qas": [_question(document, number, writing) for number, document in asked]}
            for context, asked in groupby(article, key=lambda entry: entry[1].text)
        ]
        block = json.dumps({"title": title, "paragraphs": paragraphs}, ensure_ascii=False)
        yield before + b"\n" + block.encode("utf-8")
        before = b","
    yield (b"" if before == b"," else before) + b"\n]}\n"


def _question(document: Document, number: int, writing: Writing) -> dict[str, Any]:
    spans = document.spans or ()
    if document.predicted:
        writing.losses.add("answers after the best one not written", document.where, len(spans[1:]))
        writing.losses.add("scores not written", document.where, sum(span.score is not None for span in spans[:1]))
        spans = spans[:1]
    if document.id is None:
        writing.losses.add("questions without an id numbered", document.where)
    answers = [{"text": document.text[span.start : span.end], "answer_start": span.start} for span in spans]
    return {
        "id": str(number if document.id is None else document.id),
        "question": document.question.text if document.question else "",
        "answers": answers,
        "is_impossible": not answers,
    }


FORMAT = WriteFormat("squad", "SQuAD JSON", ("passages",), frozenset({IDS, OVERLAPS, SCORES}), encode)
