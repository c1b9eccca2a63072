"""Words and their tags with scores, as rows of soft labels give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from manyheads.errors import RowError
from manyheads.tasks.distillation import listed, probability
from manyheads.tasks.inputs import Array
from manyheads.tasks.rows import Row
from manyheads.text.joining import joined

SLACK = 0.01
"""Tolerance on the sum of a word's probabilities: files have few decimals."""


def scored_words(row: Row, tags: Sequence[str]) -> tuple[Array, Array]:
    """Offsets of the words of a row, `(W, 2)`, and their `scores`, `(W, K)`. Raises RowError.

    >>> offsets_W2, chance_WK = scored_words({"tokens": ["It", "works"], "scores": [{"A": 1}, {"A": 0.25, "B": 0.75}]}, "AB")
    >>> offsets_W2.tolist(), chance_WK.tolist()
    ([[0, 2], [3, 8]], [[1.0, 0.0], [0.25, 0.75]])
    """
    offsets_W2, scores = _word_offsets(row), row["scores"]
    if not isinstance(scores, Sequence) or isinstance(scores, str) or len(scores) != len(offsets_W2):
        seen = len(scores) if isinstance(scores, Sequence) and not isinstance(scores, str) else "no list of"
        raise RowError(f"has {len(offsets_W2)} words and {seen} 'scores'; give each word an object of tags")
    return offsets_W2, np.array([_tag_scores(word, tags) for word in scores]).reshape(len(offsets_W2), len(tags))


def _tag_scores(word: Any, tags: Sequence[str]) -> list[float]:
    """Probabilities of all tags of a word, in order; missing tags have 0."""
    if not isinstance(word, Mapping):
        raise RowError(f"'scores' of a word must be an object of tags and probabilities, seen {word!r:.80}")
    known = {tag: value for tag, value in word.items() if value is not None}  # Parquet fills absent tags with null
    if strange := sorted(set(known) - set(tags)):
        raise RowError(f"tag {strange[0]!r} is not one of the task's tags: {listed(tags)}")
    chance_K = [probability(known.get(tag, 0.0), f"the score of {tag!r}") for tag in tags]
    total = sum(chance_K)
    if abs(total - 1) > SLACK:
        raise RowError(f"the tags of a word add up to {total:.4g}, not to 1: {dict(known)!r:.200}")
    return [chance / total for chance in chance_K]


def _word_offsets(row: Row) -> Array:
    """Offsets of the words with scores. Raises RowError."""
    if "tokens" in row:
        return np.array(joined(row["tokens"], row.get("space_after"))[1], np.int64).reshape(-1, 2)
    words = row.get("words")
    try:
        offsets_W2 = np.array(words, np.int64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise RowError(f"'scores' need 'words', a list of [start, end] in the text, seen {words!r:.80}") from None
    flat = offsets_W2.ravel()
    if words is None or (np.diff(flat) < 0).any():
        raise RowError("'scores' need 'words', a list of [start, end] in the order of the text, without overlaps")
    return offsets_W2
