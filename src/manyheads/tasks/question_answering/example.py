"""Questions about a passage, and the answers a model finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyheads.errors import RowError
from manyheads.tasks.base import Array, Row
from manyheads.text.pack import Encoding
from manyheads.text.values import key_of, truth

CONTEXT = 1
"""The passage is the second part of the pair."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a context; `answers` are `(start, text)`, none if it is unanswerable."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[int, str], ...]
    title: str = ""

    @property
    def texts(self) -> list[str]:
        """The texts of the answers."""
        return [text for _, text in self.answers]


@dataclass(frozen=True, slots=True)
class Found:
    """The n best spans, best first, and a score from 0 to 1 that there is no answer (None: not modelled)."""

    spans: tuple[dict[str, Any], ...]
    no_answer: float | None


def read_question(row: Row) -> Question:
    """`question`, `context`, `answers` [{"text", "start"}], optional `id`, `title`, `is_impossible`. Raises RowError."""
    if row.get("question") is None:
        raise RowError("has no 'question'")
    question, context = question_text(row["question"]), row.get("context")
    if not isinstance(context, str) or not context.strip():
        raise RowError("has no 'context'" if context is None else "has an empty 'context'; there is nothing to search")
    given = row.get("answers")
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise RowError(f"'answers' must be a list of {{text, start}} (empty: unanswerable), seen {given!r}")
    impossible = truth(row.get("is_impossible"), "is_impossible")
    if impossible is not None and impossible == bool(given):
        raise RowError(f"has is_impossible: {row['is_impossible']!r} and {len(given)} answers; correct one of them (an "
                       "unanswerable question has no answers)")  # fmt: skip
    answers = tuple(_checked_answer(context, answer) for answer in given)
    return Question(key_of(row.get("id"), "id"), question, context, answers, key_of(row.get("title"), "title"))


def question_text(question: Any) -> str:
    """A question that is not blank. Raises RowError."""
    if not isinstance(question, str) or not question.strip():
        raise RowError(f"'question' is empty or not a string: {question!r}")
    return question


def _checked_answer(context: str, answer: Any) -> tuple[int, str]:
    if not isinstance(answer, Mapping) or "text" not in answer:
        raise RowError(f"answer {answer!r} needs 'text' and 'start'")
    text, start = answer["text"], answer.get("start", answer.get("answer_start"))
    if not isinstance(text, str) or not text.strip():
        raise RowError(f"answer text {text!r} is empty; for an unanswerable question give an empty list of answers")
    if not isinstance(start, int) or isinstance(start, bool):
        raise RowError(f"answer {text!r} has start {start!r}; give its offset in the context")
    if context[start : start + len(text)] != text or start < 0:
        elsewhere = context.find(text)
        hint = f"it is at {elsewhere}" if elsewhere >= 0 else "it is nowhere in the context"
        raise RowError(f"answer {text!r} is not at offset {start}, where the context has "
                       f"{context[max(start, 0) : max(start, 0) + len(text)]!r}; {hint}")  # fmt: skip
    return start, text


def context_tokens(window: Encoding) -> Array:
    """Indices `(N,)` of the passage's tokens in a window."""
    return np.flatnonzero(window.part_L == CONTEXT)
