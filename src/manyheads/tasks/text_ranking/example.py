"""A query with passages and their relevance, read from rows of one passage or of a list of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manyheads.errors import RowError
from manyheads.tasks.base import Row
from manyheads.text.values import check_spelling, first_given, is_missing, number_of, truth

OPTIONAL = ("score", "label", "scores", "labels", "negative", "negatives")


@dataclass(frozen=True, slots=True)
class Ranked:
    """A query and its passages. A row of one passage is a list of one."""

    query: str
    passages: tuple[str, ...]
    gains: tuple[float, ...]
    """Relevance of each passage, 0 or more."""
    listed: bool
    """Whether the row held a list."""

    @property
    def text(self) -> str:
        """The query."""
        return self.query

    @property
    def pair(self) -> str | None:
        """The first passage."""
        return self.passages[0]

    @property
    def document(self) -> str:
        """The query: passages of one query are not independent."""
        return self.query


def read_ranked(row: Row) -> Ranked:
    """`query` (or `question`) with `passage` and `score` or `label`, with `passages`, or with `positive` and `negatives`.

    Raises RowError.
    """
    query = text_in(first_given(row.get("query"), row.get("question")), "query")
    if not is_missing(row.get("passage")):
        check_spelling(row, OPTIONAL[:2])
        return Ranked(query, (text_in(row["passage"], "passage"),), (gain_in(row),), listed=False)
    if "passages" in row:
        passages, gains = _passages(row)
    elif "positive" in row or "positives" in row:
        positives = _texts(first_given(row.get("positive"), row.get("positives")), "positive")
        negatives = _texts(first_given(row.get("negatives"), row.get("negative")), "negatives")
        passages, gains = [*positives, *negatives], [1.0] * len(positives) + [0.0] * len(negatives)
    else:
        raise RowError(f"has no 'passage', 'passages' or 'positive'; its keys are {', '.join(map(str, row))}")
    if len(set(gains)) < 2:
        seen = f"{len(passages)} passages, all of relevance {gains[0]:g}" if gains else "no passages"
        raise RowError(f"a list needs passages of different relevance to learn from; seen {seen}")
    return Ranked(query, tuple(passages), tuple(gains), listed=True)


def text_in(value: Any, name: str) -> str:
    """A text that is not blank. Raises RowError."""
    if is_missing(value):
        raise RowError(f"'{name}' is empty or missing")
    if not isinstance(value, str):
        raise RowError(f"'{name}' must be a text, seen {value!r:.80}")
    return value


def gain_in(row: Row) -> float:
    """The relevance in `score` or `label`: a number of 0 or more, or true or false. Raises RowError."""
    key = next((key for key in ("score", "label") if not is_missing(row.get(key))), None)
    if key is None:
        raise RowError("has no 'score' or 'label'; give the relevance of the passage, such as 0 or 1")
    return _gain(row[key], key)


def _gain(value: Any, name: str) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false", "yes", "no")):
        return float(bool(truth(value, name)))
    gain = number_of(value, name)
    if gain < 0:
        raise RowError(f"'{name}' is {gain:g}; relevance must be 0 or more")
    return gain


def _passages(row: Row) -> tuple[list[str], list[float]]:
    """`passages`: objects with `text` and `score` or `label`; or texts, with `scores` or `labels` beside them."""
    given = row["passages"]
    if not isinstance(given, list | tuple):
        raise RowError(f"'passages' must be a list, seen {given!r:.80}")
    if all(isinstance(one, Mapping) for one in given):
        return [text_in(one.get("text"), "text") for one in given], [gain_in(one) for one in given]
    key = "scores" if "scores" in row else "labels"
    gains = row.get(key)
    if not isinstance(gains, list | tuple) or len(gains) != len(given):
        count = f"{len(gains)} are given" if isinstance(gains, list | tuple) else f"seen {gains!r:.80}"
        raise RowError(f"'{key}' must be a list with the relevance of each of {len(given)} passages; {count}")
    return _texts(given, "passages"), [_gain(gain, key) for gain in gains]


def _texts(value: Any, name: str) -> list[str]:
    """A text, or a list of texts; none for a missing value."""
    if isinstance(value, list | tuple):
        return [text_in(text, name) for text in value]
    return [] if is_missing(value) else [text_in(value, name)]
