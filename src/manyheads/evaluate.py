"""Scores of a model on labelled examples, through the same `Predictor` that serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from manyheads.predict import Predictor
    from manyheads.tasks.base import Answer, Task

CHUNK_EXAMPLES = 2048

Metrics = dict[str, float]
Answered = tuple[list[list[Any]], list[Any]]
"""Answers to each example's asks, and the examples, in order."""

Scores = dict[str, dict[str, Metrics]]
"""`{task: {split: {metric: value}}}`, fractions; `_all` holds `combined`."""


class Examples(Protocol):
    """Labelled examples of one task, by index."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """The example."""
        ...


def answers_for(predictor: Predictor, task: Task[Any], examples: Examples) -> tuple[list[list[Answer]], list[Any]]:
    """Answers to each example's asks, and the examples, in order."""
    answers: list[list[Answer]] = []
    kept: list[Any] = []
    for start in range(0, len(examples), CHUNK_EXAMPLES):
        chunk = [examples[i] for i in range(start, min(start + CHUNK_EXAMPLES, len(examples)))]
        asked = [task.asks(example) for example in chunk]
        flat = iter(predictor.answer([{task.name: ask} for asks in asked for ask in asks]))
        answers.extend([next(flat).answers[task.name] for _ in asks] for asks in asked)
        kept.extend(chunk)
    return answers, kept


def evaluate(predictor: Predictor, tables: Mapping[str, Examples]) -> dict[str, Metrics]:
    """Metrics of each task on its examples."""
    result = {}
    for name, examples in tables.items():
        task = predictor.tasks[name]
        result[name] = task.score(*answers_for(predictor, task, examples))
    return result


def calibrate(predictor: Predictor, tables: Mapping[str, Examples]) -> tuple[dict[str, Task[Any]], dict[str, Metrics]]:
    """Tasks with what is tuned on these (validation) examples settled, and their metrics then."""
    tasks, metrics = dict(predictor.tasks), {}
    for name, examples in tables.items():
        settled = settle(tasks, {name: answers_for(predictor, tasks[name], examples)})
        tasks, metrics[name] = settled[0], settled[1][name]
    return tasks, metrics


def settle(
    tasks: Mapping[str, Task[Any]], answered: Mapping[str, Answered]
) -> tuple[dict[str, Task[Any]], dict[str, Metrics]]:
    """What `calibrate` gives, from answers that are there already."""
    settled, metrics = dict(tasks), {}
    for name, (answers, examples) in answered.items():
        settled[name] = tasks[name].calibrated(answers, examples)
        metrics[name] = settled[name].score(answers, examples)
    return settled, metrics


def combined(tasks: Mapping[str, Task[Any]], metrics: Mapping[str, Metrics]) -> float:
    """The mean of the tasks' headline figures."""
    figures: Sequence[float] = [tasks[name].headline(values) for name, values in metrics.items()]
    return sum(figures) / len(figures) if figures else 0.0
