"""Metrics of question answering; the calibration of scores, and the threshold on `no_answer_score`, tuned for F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from manyheads.metrics.answers import answer_scores, best_threshold, exact_match, f1
from manyheads.metrics.calibration import expected_calibration_error, fitted_scale
from manyheads.metrics.evidence import Tally, grouped
from manyheads.tasks.question_answering.example import Found, Question

if TYPE_CHECKING:
    from manyheads.tasks.base import Task
    from manyheads.tasks.question_answering.task import QuestionAnswering

Answers = Sequence[Sequence[Found]]


def score(task: QuestionAnswering, answers: Answers, examples: Sequence[Question]) -> dict[str, float]:
    """SQuAD's exact match and F1; on unanswerable data also `has_answer_*` and `no_answer_*`; `ece` of answers given."""
    metrics = answer_scores([example.texts for example in examples], _texts(task, answers))
    confidences, right = _correctness(task, answers, examples)
    return {**metrics, **({"ece": expected_calibration_error(confidences, right)} if confidences else {})}


def chance(task: QuestionAnswering, examples: Sequence[Question]) -> dict[str, float]:
    """No answer to any question, the most frequent answer."""
    return answer_scores([example.texts for example in examples], [""] * len(examples))


def evidence(task: QuestionAnswering, answers: Answers, examples: Sequence[Question], clusters: Sequence[str]) -> Tally:
    """F1 of each question."""
    counts = [[f1(text, example.texts), 1.0] for example, text in zip(examples, _texts(task, answers), strict=True)]
    return Tally(grouped(np.array(counts), clusters), "mean")


def degenerate_reason(task: QuestionAnswering, answers: Answers, examples: Sequence[Question]) -> str | None:
    """When it abstains from every question, or scores no better than that."""
    answerable = sum(bool(example.answers) for example in examples)
    if not answerable:
        return None
    texts, golds = _texts(task, answers), [example.texts for example in examples]
    if not any(texts):
        return f"abstains from all {len(examples):,} questions, of which {answerable:,} have an answer"
    if answer_scores(golds, texts)["f1"] > chance(task, examples)["f1"]:
        return None
    if answerable == len(examples):
        return f"answers none of the {len(examples):,} questions right, not even in part"
    return "scores no better than abstaining from every question"


def calibrate(task: QuestionAnswering, answers: Answers, examples: Sequence[Question]) -> QuestionAnswering:
    """Fit the threshold with the best F1 on these examples, and the scale of the scores of the answers then given.

    The threshold is unchanged if all examples have answers.
    """
    fitted = _with_threshold(task, answers, examples)
    confidences, right = _correctness(fitted, answers, examples)
    if not confidences:
        return fitted
    scale = fitted_scale(task.scale.undone(np.array(confidences)), right)
    return replace(fitted, temperature=scale.temperature, score_bias=scale.bias)


def recalibrate(task: QuestionAnswering, answers: Answers, before: Task[Question]) -> list[list[Found]]:
    """The same spans with calibrated scores."""
    assert isinstance(before, type(task)), "the same task"
    return [
        [replace(found, spans=tuple(task.rescaled(found.spans, before.scale))) for found in answer] for answer in answers
    ]


def _with_threshold(task: QuestionAnswering, answers: Answers, examples: Sequence[Question]) -> QuestionAnswering:
    if not task.no_answer or all(example.answers for example in examples):
        return task
    threshold = best_threshold(
        [example.texts for example in examples],
        [answer[0].spans[0]["text"] if answer[0].spans else "" for answer in answers],
        [answer[0].no_answer if answer[0].no_answer is not None else 0.0 for answer in answers],
    )
    return replace(task, no_answer_threshold=float(threshold))


def _correctness(
    task: QuestionAnswering, answers: Answers, examples: Sequence[Question]
) -> tuple[list[float], list[float]]:
    """The score of each best answer that is given, and whether it is right word for word."""
    pairs = [
        (spans[0]["score"], exact_match(spans[0]["text"], example.texts))
        for answer, example in zip(answers, examples, strict=True)
        if (spans := task.given_spans(answer[0]))
    ]
    return [confidence for confidence, _ in pairs], [right for _, right in pairs]


def _texts(task: QuestionAnswering, answers: Answers) -> list[str]:
    """The text of each answer; empty for no answer."""
    given = [task.given_spans(answer[0]) for answer in answers]
    return [spans[0]["text"] if spans else "" for spans in given]
