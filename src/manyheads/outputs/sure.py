"""Answers without what the model is not sure of: spans, answers and labels whose score is below `min_score`.

Decided here: by the form of an answer, not by its task: of a list whose entries have a `score`, those that reach it stay;
of `labels` with `scores`, the labels that do. A single label stays whatever its score, and so do all `scores`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.errors import UsageError


def checked_score(min_score: float | None, where: str = "min_score") -> float:
    """The score as a number; 0 for None, which leaves nothing out. Raises UsageError unless it lies between 0 and 1."""
    if min_score is None:
        return 0.0
    if isinstance(min_score, bool) or not isinstance(min_score, int | float) or not 0 <= min_score <= 1:
        raise UsageError(f"{where} must be a number from 0 to 1, seen {min_score!r}")
    return float(min_score)


def sure_of(row: Mapping[str, Any], min_score: float) -> dict[str, Any]:
    """An output row without what is below `min_score`.

    >>> sure_of({"tasks": {"names": [{"text": "Oslo", "score": 0.4}, {"text": "Lena", "score": 0.9}]}}, 0.5)
    {'tasks': {'names': [{'text': 'Lena', 'score': 0.9}]}}
    """
    if not min_score or "tasks" not in row:
        return dict(row)
    return {**row, "tasks": {name: _sure(answer, min_score) for name, answer in row["tasks"].items()}}


def _sure(answer: Any, least: float) -> Any:
    if isinstance(answer, list) and answer and all(isinstance(one, Mapping) and "score" in one for one in answer):
        return [one for one in answer if one["score"] >= least]
    if isinstance(answer, Mapping) and "labels" in answer and "scores" in answer:
        return {**answer, "labels": [label for label in answer["labels"] if answer["scores"][label] >= least]}
    return answer
