"""Scores a model on labelled examples, with the same `Predictor` that serves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from manyheads.metrics.resampling import score_interval

if TYPE_CHECKING:
    from manyheads.predict import Predictor
    from manyheads.tasks.base import Answer, Task

CHUNK_EXAMPLES = 2048

Metrics = dict[str, float]
Answered = tuple[list[list[Any]], list[Any]]
"""The answers for each example's inputs, and the examples, in order."""

Scores = dict[str, dict[str, dict[str, Any]]]
"""`{task: {split: {metric: value}}}`, as fractions; `_all` has `combined`.

Warnings are beside `combined`, under `warnings`: `{task: sentence}` for heads that learned nothing, and `combined` for tasks
that the combined score leaves out.
"""

WARNINGS = "warnings"
TRY = ("train longer, raise training.learning_rate or the task's weight, and look at its labels with "
       "`manyheads validate`")  # fmt: skip
"""Advice for a head that learned nothing."""
TRY_GENTLER = "lower training.learning_rate, or give the task private layers (sharing)"
"""Advice for a head that training made worse."""


class Examples(Protocol):
    """Labelled examples of one task, by index."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """The example."""
        ...


def answers_for(predictor: Predictor, task: Task[Any], examples: Examples) -> tuple[list[list[Answer]], list[Any]]:
    """The answers for each example's inputs, and the examples, in order."""
    answers: list[list[Answer]] = []
    kept: list[Any] = []
    for start in range(0, len(examples), CHUNK_EXAMPLES):
        chunk = [examples[i] for i in range(start, min(start + CHUNK_EXAMPLES, len(examples)))]
        inputs = [task.scored_inputs(example) for example in chunk]
        flat = iter(predictor.answer([{task.name: one} for sources in inputs for one in sources]))
        answers.extend([next(flat).answers[task.name] for _ in sources] for sources in inputs)
        kept.extend(chunk)
    return answers, kept


def with_stores(predictor: Predictor, tables: Mapping[str, Examples] | None = None) -> Predictor:
    """The predictor with what its tasks keep of outputs for texts of their own, computed with the present weights.

    With `tables`, what answers about these examples need. See `tasks/store.py`.
    """
    tasks = dict(predictor.tasks)
    for name, store in ((name, store) for name, task in tasks.items() if (store := task.store) is not None):
        if tables is not None and name not in tables:
            continue
        inputs = store.inputs(None if tables is None else [tables[name][i] for i in range(len(tables[name]))])
        chunks = [inputs[start : start + CHUNK_EXAMPLES] for start in range(0, len(inputs), CHUNK_EXAMPLES)]
        if chunks:
            tasks[name] = store.with_rows(inputs, np.concatenate([store.rows(predictor.items(name, one)) for one in chunks]))
    return predictor.with_tasks(tasks)


def evaluate(predictor: Predictor, tables: Mapping[str, Examples]) -> dict[str, Metrics]:
    """Metrics of each task on its examples."""
    return evaluate_with_warnings(predictor, tables)[0]


def evaluate_with_warnings(predictor: Predictor, tables: Mapping[str, Examples]) -> tuple[dict[str, Metrics], dict[str, str]]:
    """Metrics of each task on its examples, and a warning for each head that learned nothing."""
    metrics, warnings = dict[str, Metrics](), dict[str, str]()
    for name, table in tables.items():
        task = predictor.tasks[name]
        answers, examples = answers_for(predictor, task, table)
        metrics[name] = task.score(answers, examples)
        warnings |= head_warnings({name: task}, {name: (answers, examples)}, metrics)
    return metrics, warnings


def head_warnings(
    tasks: Mapping[str, Task[Any]],
    answered: Mapping[str, Answered],
    metrics: Mapping[str, Metrics] | None = None,
    frozen: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """A warning for each head whose answers show that it learned nothing, with advice.

    With `metrics`, heads are also compared with a head that ignores the text and, by its score in `frozen`, with the head on
    the untrained encoder.
    """
    found = {}
    for name, (answers, examples) in answered.items():
        reason = tasks[name].degenerate_reason(answers, examples)
        if reason is not None:
            found[name] = f"{reason}; {TRY}"
        elif metrics is not None and examples:
            worse = _worse_than_baseline(tasks[name], metrics[name], examples, None if frozen is None else frozen.get(name))
            found |= {} if worse is None else {name: worse}
    return found


def headline_name(task: Task[Any], metrics: Metrics) -> str:
    """Name of the metric whose value `task.main_score` returns."""
    if not metrics or task.main_metric in metrics:
        return task.main_metric
    value = task.main_score(metrics)
    return next((name for name, one in metrics.items() if one == value), task.main_metric)


def score_intervals(
    tasks: Mapping[str, Task[Any]], answered: Mapping[str, Answered], scores: Mapping[str, Metrics]
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each task's main score, by a bootstrap over clusters of examples; none for fewer than 10.

    `scores`: the metrics of these answers.
    """
    found = {}
    for name, (answers, examples) in answered.items():
        if examples:
            task = tasks[name]
            evidence = task.evidence(answers, examples, [task.cluster(example) for example in examples])
            found[name] = score_interval(evidence, task.main_score(scores[name]))
    return {name: interval for name, interval in found.items() if interval is not None}


def _worse_than_baseline(task: Task[Any], metrics: Metrics, examples: Sequence[Any], frozen: float | None) -> str | None:
    """A warning if a baseline scores better; the untrained encoder must be better by over half a standard error."""
    score, chance = task.main_score(metrics), task.chance(examples)
    if chance and score < task.main_score(chance):
        return f"scores {score:.3f}, less than a head that ignores the text ({task.main_score(chance):.3f}); {TRY}"
    tolerance = 0.5 * math.sqrt(max(0.0, score * (1 - score)) / len(examples))
    if frozen is not None and score < frozen - tolerance:
        return f"scores {score:.3f}, less than its head on the untrained encoder ({frozen:.3f}); {TRY_GENTLER}"
    return None


def add_warnings(scores: Scores, split: str, warnings: Mapping[str, str]) -> None:
    """Add the warnings of a split to the scores."""
    if warnings:
        scores.setdefault("_all", {}).setdefault(split, {}).setdefault(WARNINGS, {}).update(warnings)


def keep_warnings(scores: Scores, old: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Add the warnings of some tasks of other scores. `names`: the new name by the old one."""
    for split, values in old.get("_all", {}).items():
        found = values.get(WARNINGS, {})
        add_warnings(scores, split, {after: found[before] for before, after in names.items() if before in found})


def warning_lines(scores: Mapping[str, Any]) -> list[str]:
    """Each warning as a line.

    >>> warning_lines({"_all": {"test": {"warnings": {"entities": "finds none of the 12 entities"}}}})
    ['entities (test): finds none of the 12 entities']
    """
    return [
        f"{name} ({split}): {sentence}"
        for split, values in scores.get("_all", {}).items()
        for name, sentence in values.get(WARNINGS, {}).items()
    ]


def score_rows(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[str, str, str, float]]:
    """Scores without warnings as rows of task (or `_all`), split, metric and value.

    >>> score_rows({"section": {"test": {"accuracy": 0.5}}})
    [('section', 'test', 'accuracy', 0.5)]
    """
    return [
        (name, split, metric, value)
        for name, splits in scores.items()
        for split, metrics in splits.items()
        for metric, value in metrics.items()
        if metric != WARNINGS
    ]


def calibrate(predictor: Predictor, tables: Mapping[str, Examples]) -> tuple[dict[str, Task[Any]], dict[str, Metrics]]:
    """The tasks calibrated on these (validation) examples, and their metrics afterwards."""
    tasks, metrics = dict(predictor.tasks), {}
    for name, examples in tables.items():
        calibrated = calibrate_answers(tasks, {name: answers_for(predictor, tasks[name], examples)})
        tasks, metrics[name] = calibrated.tasks, calibrated.metrics[name]
    return tasks, metrics


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Tasks calibrated on validation data."""

    tasks: dict[str, Task[Any]]
    metrics: dict[str, Metrics]
    answered: dict[str, Answered]
    """The answers of the calibrated tasks."""


def calibrate_answers(tasks: Mapping[str, Task[Any]], answered: Mapping[str, Answered]) -> Calibrated:
    """Calibrate tasks on existing answers to validation examples, and recompute these answers."""
    calibrated = Calibrated(dict(tasks), {}, {})
    for name, (answers, examples) in answered.items():
        task = calibrated.tasks[name] = tasks[name].calibrate(answers, examples)
        answers_now = [list(answer) for answer in task.recalibrate(answers, tasks[name])]
        calibrated.metrics[name] = task.score(answers_now, examples)
        calibrated.answered[name] = answers_now, examples
    return calibrated


def combined(tasks: Mapping[str, Task[Any]], metrics: Mapping[str, Metrics]) -> float:
    """The mean of the tasks' main scores."""
    scores: Sequence[float] = [tasks[name].main_score(values) for name, values in metrics.items()]
    return sum(scores) / len(scores) if scores else 0.0
