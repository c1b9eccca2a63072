"""A filter for answers: spans, answers and labels with a score of at least `min_score`.

It depends on the form of an answer, not on its task: it applies to a list whose entries have a `score`, and to `labels` with
`scores`. A single label stays whatever its score, and so do all `scores`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.errors import UsageError


def check_min_score(min_score: float | None, where: str = "min_score") -> float:
    """The score as a number; 0 for None. Raises UsageError unless it is between 0 and 1."""
    if min_score is None:
        return 0.0
    if isinstance(min_score, bool) or not isinstance(min_score, int | float) or not 0 <= min_score <= 1:
        raise UsageError(f"{where} must be a number from 0 to 1, seen {min_score!r}")
    return float(min_score)


def filter_by_score(row: Mapping[str, Any], min_score: float) -> dict[str, Any]:
    """An output row without entries below `min_score`.

    >>> filter_by_score({"tasks": {"names": [{"text": "Oslo", "score": 0.4}, {"text": "Lena", "score": 0.9}]}}, 0.5)
    {'tasks': {'names': [{'text': 'Lena', 'score': 0.9}]}}
    """
    if not min_score or "tasks" not in row:
        return dict(row)
    return {**row, "tasks": {name: _filtered(answer, min_score) for name, answer in row["tasks"].items()}}


def _filtered(answer: Any, least: float) -> Any:
    if isinstance(answer, list) and answer and all(isinstance(one, Mapping) and "score" in one for one in answer):
        return [one for one in answer if one["score"] >= least]
    if isinstance(answer, Mapping) and "labels" in answer and "scores" in answer:
        return {**answer, "labels": [label for label in answer["labels"] if answer["scores"][label] >= least]}
    return answer
