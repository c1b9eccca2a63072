"""SQuAD JSON, v1.1 and v2, and what others write like it.

    {"data": [{"title": "...", "paragraphs": [{"context": "...", "qas": [{"question": "...", "answers": [...]}]}]}]}
    [{"context": "...", "qas": [{"question": "...", "answers": [...]}]}]
    {"data": [{"context": "...", "question": "...", "answers": {"text": [...], "answer_start": [...]}}]}

The list under `data`, or the file itself, holds articles, paragraphs or questions, each question with its context.

The file is one JSON value, so it is held in memory whole; each article is released once its questions are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.lines import whole
from manyheads.data.formats.messages import json_type
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow, with_answers
from manyheads.errors import DataError, RowError
from manyheads.text.values import truth

MOST_BYTES = 256 << 20
"""Six times the training data of SQuAD v2."""
MOST_VALUES = 3_000_000
"""Lists and objects; SQuAD v2 has 0.6 million. Each takes some 200 bytes."""


def looks_like(preview: Preview) -> bool:
    """Questions under paragraphs, or `data` as a list of questions."""
    shape = preview.json
    paragraphs = ("data[].paragraphs[].", "paragraphs[].", "data[].", "")
    return any(shape.has(f"{path}qas[].question", f"{path}context") for path in paragraphs) or shape.has(
        "data[].question", "data[].context"
    )


def read(path: Path, _: RowSchema) -> Iterator[RawRow]:
    """Questions. Raises DataError for JSON of another form, with the line, article or question."""
    found = whole_json(path)
    articles = found.get("data") if isinstance(found, dict) else found
    if not isinstance(articles, list):
        raise DataError(f"{path} is not SQuAD JSON: expected an object with a list 'data', seen {json_type(found)}")
    del found
    articles.reverse()
    for count in range(1, len(articles) + 1):
        article = articles.pop()
        if isinstance(article, dict) and "paragraphs" not in article and {"context", "question"} <= set(article):
            yield _question(path, article, article["context"], article.get("title", ""))
            continue
        try:
            paragraphs = [article] if "qas" in article and "paragraphs" not in article else article["paragraphs"]
            asked = [
                (qa, paragraph["context"], article.get("title", "")) for paragraph in paragraphs for qa in paragraph["qas"]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            lack = f"lacks {error}" if isinstance(error, KeyError) else "has something else in place of an object"
            raise DataError(
                f"{path}: article {count} {lack}; SQuAD has paragraphs, each with 'context' and 'qas'"
            ) from None
        for qa, context, title in asked:
            yield _question(path, qa, context, title)


def whole_json(path: Path) -> Any:
    """The one JSON value of a file. Raises DataError for invalid JSON, or a value that does not fit into memory."""
    text = whole(path, MOST_BYTES)
    if text.count("[") + text.count("{") > MOST_VALUES or text.count(",") > 4 * MOST_VALUES:
        raise DataError(f"{path} has more lists, objects and values than fit into memory; cut it into several files")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = "; JSON lines are read from files that end in .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}:{error.lineno} is not valid JSON: {error.msg} at column {error.colno}{hint}") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in a list in a list ...
        raise DataError(f"{path} is not valid JSON: {error}") from None


def _question(path: Path, qa: Any, context: Any, title: Any) -> RawRow:
    if not isinstance(qa, dict) or "question" not in qa:
        seen = qa.get("id") if isinstance(qa, dict) else qa
        raise DataError(f"{path}: question {seen!r:.80} has no 'question'")
    where = f"{path}: question '{str(qa.get('id', qa['question']))[:200]}'"
    try:
        impossible = truth(qa.get("is_impossible"), "is_impossible")
    except RowError as error:
        raise DataError(f"{where}: {error}") from None
    if "answers" not in qa and not impossible:
        raise DataError(f"{where} has no 'answers'; an unanswerable question has an empty list")
    values = {"id": qa.get("id", ""), "question": qa["question"], "context": context, "answers": qa.get("answers", [])}
    values["title"] = title
    if "is_impossible" in qa:
        values["is_impossible"] = qa["is_impossible"]
    return RawRow(with_answers(values), where)
