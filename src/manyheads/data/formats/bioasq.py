"""BioASQ: questions with snippets of articles, and exact answers (Tsatsaronis 2015).

    {"questions": [{"id": "7", "type": "factoid", "body": "Which drug lowers fever?", "exact_answer": [["Orbanol"]],
                    "snippets": [{"text": "Orbanol lowers fever.", "document": "...", ...}]}]}

What a row is depends on the task:
- questions with a context: a snippet of a factoid or list question. The answers have no offsets, so the first occurrence of
  each, as whole words and whatever its case, is its place. A snippet without any says nothing, and is skipped and counted.
- labels: a yes/no question, with its snippets as the second text.
- pairs of texts: a question and one of its snippets.

The file is one JSON value, so it is held in memory whole, as SQuAD is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import Columns, Format, RowSchema
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import as_list, as_object, as_text, object_list
from manyheads.data.formats.rows import LeftOut, RawRow
from manyheads.data.formats.squad import whole_json
from manyheads.errors import DataError
from manyheads.text.answers import whole_words

COLUMNS: tuple[Columns, ...] = (("question", "context", "answers"), ("text", "label"), ("text_a", "text_b"))
EXACT = ("factoid", "list")
NOT_FOUND = "snippet without the exact answer"
NO_SNIPPET = "question without a snippet"


def looks_like(preview: Preview) -> bool:
    """Questions with bodies."""
    return preview.json.has("questions[].body", "questions[].type")


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows. Raises DataError for JSON of another form, with the number of the question."""
    found = whole_json(path)
    questions = found.get("questions") if isinstance(found, dict) else None
    for number, one in enumerate(as_list(questions, str(path), "questions"), 1):
        where = f"{path}: question {number}"
        question = as_object(one, where, "question")
        if schema.has_any("answers"):
            yield from _with_answers(question, where)
        elif schema.has_any("label"):
            yield _labelled(question, where)
        else:
            yield from _pairs(question, where)


def _snippets(question: Mapping[str, Any], where: str) -> list[str]:
    return [as_text(one.get("text"), where) for one in object_list(question, "snippets", where)]


def _body(question: Mapping[str, Any], where: str) -> str:
    return as_text(question.get("body"), where, "body")


def _with_answers(question: Mapping[str, Any], where: str) -> Iterator[RawRow]:
    body, kind = _body(question, where), as_text(question.get("type"), where, "type")
    snippets = _snippets(question, where)
    answers = _answers(question.get("exact_answer"), where) if kind in EXACT else []
    reason = f"{kind[:40]} question" if kind not in EXACT else None if snippets else NO_SNIPPET
    if reason is None and not answers:
        reason = "question without an exact answer"
    if reason is not None:
        yield RawRow({"question": body}, where, skip=reason)
        return
    for number, snippet in enumerate(snippets, 1):
        place = f"{where}, snippet {number}"
        places = sorted({there[0].span() for text in answers if (there := whole_words(text, snippet))})
        found = [{"text": snippet[start:end], "start": start} for start, end in places]
        if not found:
            yield RawRow({"question": body}, place, skip=NOT_FOUND)
            continue
        key = str(question.get("id") or place)
        values = {"id": f"{key}_{number:03}", "question": body, "context": snippet, "answers": found, "title": key}
        yield RawRow(values, place)


def _answers(value: Any, where: str) -> list[str]:
    """The exact answers with their synonyms: a string, a list, or a list of lists."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value] if value.strip() else []
    return [text for one in as_list(value, where, "exact_answer") for text in _answers(one, where)]


def _labelled(question: Mapping[str, Any], where: str) -> RawRow:
    body, kind = _body(question, where), as_text(question.get("type"), where, "type")
    answer = question.get("exact_answer")
    if kind != "yesno" or answer is None:
        reason = f"{kind[:40]} question" if kind != "yesno" else "question without an exact answer"
        return RawRow({"text": body}, where, skip=reason)
    label = as_text(answer[0] if isinstance(answer, list) and answer else answer, where, "exact_answer").strip().lower()
    if label not in ("yes", "no"):
        raise DataError(f"{where} has the exact answer {label[:80]!r}; a yes/no question has 'yes' or 'no'")
    snippets = _snippets(question, where)
    values = {"text": body, **({"text_pair": " ".join(snippets)} if snippets else {}), "label": label}
    return RawRow(values, where)


def _pairs(question: Mapping[str, Any], where: str) -> Iterator[RawRow]:
    body, snippets = _body(question, where), _snippets(question, where)
    left = tuple(LeftOut("exact answers", where) for _ in [0] if question.get("exact_answer"))
    if not snippets:
        yield RawRow({"text_a": body}, where, skip=NO_SNIPPET)
    for number, snippet in enumerate(snippets, 1):
        values = {"text_a": body, "text_b": snippet, "document": str(question.get("id") or where)}
        yield RawRow(values, f"{where}, snippet {number}", left_out=left if number == 1 else ())


FORMAT = Format("bioasq", "BioASQ", COLUMNS, looks_like, read)
