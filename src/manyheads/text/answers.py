"""Answers of a question in data, and their places in the context: given as offsets, or looked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from manyheads.errors import RowError
from manyheads.text.values import is_missing, number_of, truth


def given_answers(row: Mapping[str, Any]) -> Any:
    """`answers` of a row, or a list made of `answer` and `answer_start`. Raises RowError for an empty `answer`."""
    if "answers" in row or "answer" not in row:
        return row.get("answers")
    answer, start = row["answer"], row.get("answer_start")
    if not is_missing(answer):
        return [{"text": answer, "start": None if is_missing(start) else int(number_of(start, "answer_start"))}]
    if truth(row.get("is_impossible"), "is_impossible"):
        return []
    raise RowError("'answer' is empty; fill it in, or give an unanswerable question is_impossible: true")


def placed(context: str, answer: Any) -> tuple[list[int], str]:
    """Where an answer starts, and its text: in several places only if it has no offset. Raises RowError.

    >>> placed("A cat, a dog, a cat.", "dog"), placed("A cat, a dog, a cat.", {"text": "cat"})
    (([9], 'dog'), ([2, 16], 'cat'))
    """
    if not isinstance(answer, str | Mapping) or (isinstance(answer, Mapping) and "text" not in answer):
        raise RowError(f"answer {answer!r} needs 'text' and 'start'")
    given: Mapping[str, Any] = {"text": answer} if isinstance(answer, str) else answer
    text, start = given["text"], given.get("start", given.get("answer_start"))
    if not isinstance(text, str) or not text.strip():
        raise RowError(f"answer text {text!r} is empty; for an unanswerable question give an empty list of answers")
    if start is None:
        return _found(context, text)
    if not isinstance(start, int) or isinstance(start, bool):
        raise RowError(f"answer {text!r} has start {start!r}; give its offset in the context")
    if context[start : start + len(text)] != text or start < 0:
        elsewhere = context.find(text)
        hint = f"it is at {elsewhere}" if elsewhere >= 0 else "it is nowhere in the context"
        raise RowError(f"answer {text!r} is not at offset {start}, where the context has "
                       f"{context[max(start, 0) : max(start, 0) + len(text)]!r}; {hint}")  # fmt: skip
    return [start], text


def whole_words(text: str, context: str) -> list[re.Match[str]]:
    """The places of a text as whole words: in its own case, or if there is none, in any.

    >>> [match.span() for match in whole_words("cat", "A catfish, a Cat.")]
    [(13, 16)]
    """
    pattern = rf"(?<!\w){re.escape(text.strip())}(?!\w)"
    return list(re.finditer(pattern, context)) or list(re.finditer(pattern, context, re.IGNORECASE))


def _found(context: str, text: str) -> tuple[list[int], str]:
    """All places of a text, as whole words where there are such."""
    if found := whole_words(text, context) or list(re.finditer(re.escape(text.strip()), context)):
        return [match.start() for match in found], found[0][0]
    raise RowError(f"answer {text!r} is nowhere in the context; copy it from there, letter by letter")
