"""Answers of text classification from logits, and the logits that answers came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.metrics.calibration import logit, sigmoid, softmax
from manyheads.tasks.base import Item

if TYPE_CHECKING:
    from manyheads.tasks.text_classification.task import TextClassification

Answers = Sequence[Sequence[dict[str, Any]]]

LEAST = 1e-300
"""Lower bound of scores whose logarithm is taken."""


def decode(task: TextClassification, items: Sequence[Item]) -> list[dict[str, Any]]:
    """`{"label", "score", "scores"}`, or `{"labels", "scores"}`; scores from the highest to the lowest."""
    return answers_of(task, task.logits(items)) if items else []


def answer_keys(task: TextClassification, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, with scores rounded to six decimals."""
    scores = {label: round(value, 6) for label, value in answer["scores"].items()}
    if task.multi_label:
        return {task.name: {"labels": answer["labels"], "scores": scores}}
    return {task.name: {"label": answer["label"], "score": scores[answer["label"]], "scores": scores}}


def answers_of(task: TextClassification, logits_BK: np.ndarray) -> list[dict[str, Any]]:
    """Answers from logits. Scores are not rounded, as calibration needs the smallest ones too."""
    scaled_BK = logits_BK / task.temperature
    score_BK = sigmoid(scaled_BK) if task.multi_label else softmax(scaled_BK)
    limit_K = task.limits
    return [_answer(task, score_K, limit_K) for score_K in score_BK]


def scores_of(task: TextClassification, answers: Answers) -> np.ndarray:
    """Scores of answers, `(B, K)` in the order of the labels."""
    return np.array([[answer[0]["scores"][label] for label in task.labels] for answer in answers])


def logits_of(task: TextClassification, answers: Answers) -> np.ndarray:
    """The logits of answers, up to a constant per row for single labels."""
    score_BK = scores_of(task, answers)
    logits_BK = logit(score_BK) if task.multi_label else np.log(np.maximum(score_BK, LEAST))
    return np.asarray(logits_BK * task.temperature)


def _answer(task: TextClassification, score_K: np.ndarray, limit_K: np.ndarray) -> dict[str, Any]:
    order = np.argsort(-score_K, kind="stable")
    scores = {task.labels[k]: float(score_K[k]) for k in order}
    if task.multi_label:
        return {"labels": [task.labels[k] for k in order if score_K[k] >= limit_K[k]], "scores": scores}
    best = task.labels[order[0]]
    return {"label": best, "score": scores[best], "scores": scores}
