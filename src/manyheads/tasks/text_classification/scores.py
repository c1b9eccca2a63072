"""Metrics of text classification, and the temperature and thresholds fitted on validation data (`metrics/calibration.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from manyheads.metrics.calibration import (
    class_temperature,
    expected_calibration_error,
    label_temperature,
    label_thresholds,
    sigmoid,
)
from manyheads.metrics.evidence import Tally, grouped
from manyheads.metrics.labels import multi_label_scores
from manyheads.tasks.text_classification.decoding import Answers, answers_of, logits_of, scores_of
from manyheads.tasks.text_classification.example import LabelledText
from manyheads.tasks.text_classification.training import indicators

if TYPE_CHECKING:
    from typing import Any

    from manyheads.tasks.base import Task
    from manyheads.tasks.text_classification.task import TextClassification


def labels_of_answers(answers: Answers) -> list[Sequence[str]]:
    """The labels that each answer gives."""
    return [answer["labels"] if "labels" in answer else [answer["label"]] for [answer] in answers]


def score(task: TextClassification, answers: Answers, examples: Sequence[LabelledText]) -> dict[str, float]:
    """Accuracy (of the whole set for multi-label data), macro, micro and weighted F1; `ece`.

    The calibration error is of the best label's score; for multi-label data, of the score of every label.
    """
    metrics = multi_label_scores([example.labels for example in examples], labels_of_answers(answers))
    if not examples or "scores" not in answers[0][0]:
        return metrics
    if task.multi_label:
        return {**metrics, "ece": expected_calibration_error(scores_of(task, answers), indicators(task, examples))}
    right = [a[0]["label"] == e.labels[0] for a, e in zip(answers, examples, strict=True)]
    return {**metrics, "ece": expected_calibration_error([a[0]["score"] for a in answers], right)}


def evidence(
    task: TextClassification, answers: Answers, examples: Sequence[LabelledText], clusters: Sequence[str]
) -> Tally:
    """Correct, predicted and gold texts of each label, for macro F1."""
    names = sorted({*task.labels, *(label for example in examples for label in example.labels)})
    column = {label: 3 * k for k, label in enumerate(names)}
    counts_EM = np.zeros((len(examples), 3 * len(column)))
    for row_M, example, found in zip(counts_EM, examples, map(set, labels_of_answers(answers)), strict=True):
        gold = set(example.labels)
        for offset, labels in enumerate((gold & found, found, gold)):
            row_M[[column[label] + offset for label in labels]] += 1
    return Tally(grouped(counts_EM, clusters), "macro_f1")


def degenerate_reason(
    task: TextClassification, answers: Answers, examples: Sequence[LabelledText], noun: str = "texts"
) -> str | None:
    """When every text gets the same labels, or scores are no better than if it did."""
    golds = Counter(frozenset(example.labels) for example in examples)
    if len(golds) < 2:
        return None
    given = set(map(frozenset, labels_of_answers(answers)))
    if len(given) == 1:
        return f"answers {_quoted(given.pop())} for all {len(examples):,} {noun}"
    baseline = chance(task, examples)
    metrics = multi_label_scores([example.labels for example in examples], labels_of_answers(answers))
    if all(metrics[name] <= baseline[name] for name in ("accuracy", "macro_f1")):
        return f"scores no better than always answering {_quoted(_most_frequent(examples))}"
    return None


def chance(task: TextClassification, examples: Sequence[LabelledText]) -> dict[str, float]:
    """Always the most frequent label or set of labels."""
    golds = [example.labels for example in examples]
    return multi_label_scores(golds, [_most_frequent(examples)] * len(examples))


def calibrate(task: TextClassification, answers: Answers, examples: Sequence[LabelledText]) -> TextClassification:
    """Fit the temperature to these examples, and with `threshold: auto` a threshold for each label."""
    if not examples:
        return task
    logits_BK, label_BK = logits_of(task, answers), indicators(task, examples)
    if not task.multi_label:
        known_B = label_BK.any(-1)
        return replace(task, temperature=class_temperature(logits_BK[known_B], label_BK[known_B].argmax(-1)))
    temperature = label_temperature(logits_BK, label_BK)
    if task.threshold != "auto":
        return replace(task, temperature=temperature)
    threshold_K = label_thresholds(sigmoid(logits_BK / temperature), label_BK)
    return replace(task, temperature=temperature, thresholds=tuple(threshold_K.tolist()))


def recalibrate(task: TextClassification, answers: Answers, before: Task[LabelledText]) -> list[list[dict[str, Any]]]:
    """The same logits at this temperature, with the labels that reach these thresholds."""
    assert isinstance(before, type(task)), "the same task"
    return [[answer] for answer in answers_of(task, logits_of(before, answers))] if answers else []


def _most_frequent(examples: Sequence[LabelledText]) -> list[str]:
    """The most frequent label or set of labels; none without examples."""
    golds = Counter(frozenset(example.labels) for example in examples)
    return sorted(golds.most_common(1)[0][0]) if golds else []


def _quoted(labels: Iterable[str]) -> str:
    return ", ".join(f"'{label}'" for label in sorted(labels)) or "no label"
