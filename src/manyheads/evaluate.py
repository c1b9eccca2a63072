"""Scores of a model on labelled examples, through the same `Predictor` that serves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from manyheads.predict import Predictor
    from manyheads.tasks.base import Answer, Task

CHUNK_EXAMPLES = 2048

Metrics = dict[str, float]
Answered = tuple[list[list[Any]], list[Any]]
"""Answers to each example's asks, and the examples, in order."""

Scores = dict[str, dict[str, dict[str, Any]]]
"""`{task: {split: {metric: value}}}`, fractions; `_all` holds `combined`.

Where there is something to warn of, `warnings` stands beside `combined`: `{task: sentence}` on heads that show no learning,
and under `combined` what that leaves out.
"""

WARNINGS = "warnings"
TRY = ("train longer, raise training.learning_rate or the task's weight, and look at its labels with "
       "`manyheads validate`")  # fmt: skip
"""What to do about a head that shows no learning."""
GENTLER = "lower training.learning_rate, or give the task layers of its own (sharing)"
"""What to do about a head that training has made worse."""


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
        asked = [task.sources_of_example(example) for example in chunk]
        flat = iter(predictor.answer([{task.name: entry} for inputs in asked for entry in inputs]))
        answers.extend([next(flat).answers[task.name] for _ in inputs] for inputs in asked)
        kept.extend(chunk)
    return answers, kept


def evaluate(predictor: Predictor, tables: Mapping[str, Examples]) -> dict[str, Metrics]:
    """Metrics of each task on its examples."""
    return examined(predictor, tables)[0]


def examined(predictor: Predictor, tables: Mapping[str, Examples]) -> tuple[dict[str, Metrics], dict[str, str]]:
    """Metrics of each task on its examples, and a sentence on each head that shows no learning there."""
    metrics, warnings = dict[str, Metrics](), dict[str, str]()
    for name, table in tables.items():
        task = predictor.tasks[name]
        answers, examples = answers_for(predictor, task, table)
        metrics[name] = task.score(answers, examples)
        warnings |= shortcomings({name: task}, {name: (answers, examples)}, metrics)
    return metrics, warnings


def shortcomings(
    tasks: Mapping[str, Task[Any]],
    answered: Mapping[str, Answered],
    metrics: Mapping[str, Metrics] | None = None,
    frozen: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """A sentence on each head whose answers show no learning, with what to try.

    With its `metrics` a head is also held against what needs less: a head that reads nothing and, by its score in `frozen`,
    the head on the encoder as it was before training.
    """
    found = {}
    for name, (answers, examples) in answered.items():
        what = tasks[name].shortcoming(answers, examples)
        if what is not None:
            found[name] = f"{what}; {TRY}"
        elif metrics is not None and examples:
            outdone = _outdone(tasks[name], metrics[name], examples, None if frozen is None else frozen.get(name))
            found |= {} if outdone is None else {name: outdone}
    return found


def _outdone(task: Task[Any], metrics: Metrics, examples: Sequence[Any], frozen: float | None) -> str | None:
    """What needs less than the head and scores more, as a sentence; after training, by more than half a standard error."""
    score, chance = task.headline(metrics), task.chance(examples)
    if chance and score < task.headline(chance):
        return f"scores {score:.3f}, less than a head that reads nothing ({task.headline(chance):.3f}); {TRY}"
    doubt = 0.5 * math.sqrt(max(0.0, score * (1 - score)) / len(examples))
    if frozen is not None and score < frozen - doubt:
        return f"scores {score:.3f}, less than its head on the untrained encoder ({frozen:.3f}); {GENTLER}"
    return None


def warn(scores: Scores, split: str, warnings: Mapping[str, str]) -> None:
    """Put warnings of a split in their place among the scores."""
    if warnings:
        scores.setdefault("_all", {}).setdefault(split, {}).setdefault(WARNINGS, {}).update(warnings)


def warning_lines(scores: Mapping[str, Any]) -> list[str]:
    """Each warning as a line: `entities (test): finds none of the 12 entities; ...`."""
    return [
        f"{name} ({split}): {sentence}"
        for split, values in scores.get("_all", {}).items()
        for name, sentence in values.get(WARNINGS, {}).items()
    ]


def figures(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[str, str, str, float]]:
    """Scores without warnings: task (or `_all`), split, metric, value."""
    return [
        (name, split, metric, value)
        for name, splits in scores.items()
        for split, metrics in splits.items()
        for metric, value in metrics.items()
        if metric != WARNINGS
    ]


def calibrate(predictor: Predictor, tables: Mapping[str, Examples]) -> tuple[dict[str, Task[Any]], dict[str, Metrics]]:
    """Tasks with what is tuned on these (validation) examples settled, and their metrics then."""
    tasks, metrics = dict(predictor.tasks), {}
    for name, examples in tables.items():
        settled = settle(tasks, {name: answers_for(predictor, tasks[name], examples)})
        tasks, metrics[name] = settled.tasks, settled.metrics[name]
    return tasks, metrics


@dataclass(frozen=True, slots=True)
class Settled:
    """Tasks with what is tuned on validation data settled."""

    tasks: dict[str, Task[Any]]
    metrics: dict[str, Metrics]
    answered: dict[str, Answered]
    """The answers as these tasks give them."""


def settle(tasks: Mapping[str, Task[Any]], answered: Mapping[str, Answered]) -> Settled:
    """What `calibrate` gives, from answers that are there already, and these as they are then."""
    settled = Settled(dict(tasks), {}, {})
    for name, (answers, examples) in answered.items():
        task = settled.tasks[name] = tasks[name].calibrated(answers, examples)
        restated = [list(answer) for answer in task.restated(answers, tasks[name])]
        settled.metrics[name] = task.score(restated, examples)
        settled.answered[name] = restated, examples
    return settled


def combined(tasks: Mapping[str, Task[Any]], metrics: Mapping[str, Metrics]) -> float:
    """The mean of the tasks' headline figures."""
    figures: Sequence[float] = [tasks[name].headline(values) for name, values in metrics.items()]
    return sum(figures) / len(figures) if figures else 0.0
