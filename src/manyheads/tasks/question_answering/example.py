"""Questions about a passage, and the answers a model finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyheads.errors import RowError
from manyheads.tasks.base import Array, Row
from manyheads.text.answers import given_answers, placed
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
    ambiguous: str = ""
    """An answer given without its offset that the context has several times; the first place is taken."""

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
    """`question`, `context`, `answers` or `answer`, optional `id`, `title`, `is_impossible`. Raises RowError.

    `answers` are `{text, start}` or texts; `answer` is one text, whose offset may be in `answer_start`. A text without an
    offset is looked for in the context.
    """
    if row.get("question") is None:
        raise RowError("has no 'question'")
    question, context = question_text(row["question"]), row.get("context")
    if not isinstance(context, str) or not context.strip():
        raise RowError("has no 'context'" if context is None else "has an empty 'context'; there is nothing to search")
    given = given_answers(row)
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise RowError(f"'answers' must be a list of {{text, start}} (empty: unanswerable), seen {given!r}")
    impossible = truth(row.get("is_impossible"), "is_impossible")
    if impossible is not None and impossible == bool(given):
        raise RowError(f"has is_impossible: {row['is_impossible']!r} and {len(given)} answers; correct one of them (an "
                       "unanswerable question has no answers)")  # fmt: skip
    found = [placed(context, answer) for answer in given]
    answers = tuple((starts[0], text) for starts, text in found)
    ambiguous = next((text for starts, text in found if len(starts) > 1), "")
    return Question(key_of(row.get("id"), "id"), question, context, answers, key_of(row.get("title"), "title"), ambiguous)


def question_text(question: Any) -> str:
    """A question that is not blank. Raises RowError."""
    if not isinstance(question, str) or not question.strip():
        raise RowError(f"'question' is empty or not a string: {question!r}")
    return question


def context_tokens(window: Encoding) -> Array:
    """Indices `(N,)` of the passage's tokens in a window."""
    return np.flatnonzero(window.part_L == CONTEXT)
