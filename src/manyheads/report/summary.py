"""Summary of a finished run, from its folder and from the model's answers to validation examples.

Decided here: mistakes are searched for in at most 2,000 validation examples of each task, evenly spaced, so that the report
takes no longer for a large data set than for a small one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.bundle.manifest import METRICS, RUN, manifest_hash, read_manifest
from manyheads.evaluate import Examples, answers_for, headline_name, warning_lines
from manyheads.html.page import Part
from manyheads.metrics.resampling import score_interval
from manyheads.report.history import History, read_history

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics
    from manyheads.predict import Predictor
    from manyheads.tasks.base import Task

HISTORY = "history.jsonl"
MAX_EXAMPLES = 2000
MOST_COMMON, FROZEN, TEACHER = "always the most common answer", "frozen encoder", "its teacher"
"""Baselines, by their names in the report."""

Counts = Mapping[str, Mapping[str, Mapping[str, int | None]]]
"""`{task: {split: {read, used, windowed, skipped}}}`, without unknown counts."""
Answered = Mapping[str, tuple[Sequence[Any], Sequence[Any]]]
"""By task, the answers and examples that `answers_for` returned."""


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """Scores and mistakes of one task."""

    kind: str
    headline: str
    """Name of the headline metric."""
    scores: Mapping[str, Metrics]
    """By split."""
    interval: tuple[float, float] | None
    """Confidence interval of the headline metric on validation data."""
    examined: int
    """Validation examples that were searched for mistakes."""
    available: int
    """All validation examples."""
    findings: Sequence[Part]
    """The task's mistakes, as parts of the page."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """Headline metric of each baseline on validation data."""


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """A finished run."""

    name: str
    """Name of its folder."""
    encoder: str
    max_length: int
    tasks: Mapping[str, TaskSummary]
    combined: Mapping[str, float]
    """By split."""
    warnings: Sequence[str]
    """Heads that learned nothing, and tasks missing from a combined score."""
    history: History
    data: Counts
    run: str
    """Text of the run file."""
    settings: Mapping[str, Any]
    """Settings of the tasks, by `task.key`, with those inferred from the data."""
    versions: Mapping[str, str]
    hashes: Mapping[str, str]


class EvenlySpaced:
    """At most `most` of some examples, evenly spaced.

    >>> list(EvenlySpaced(range(9), most=3))
    [0, 4, 8]
    """

    def __init__(self, examples: Examples, most: int = MAX_EXAMPLES) -> None:
        """All examples if there are at most `most`."""
        self._examples = examples
        self._chosen_N = np.linspace(0, len(examples) - 1, min(most, len(examples))).round().astype(np.int64)

    def __len__(self) -> int:
        return len(self._chosen_N)

    def __getitem__(self, index: int) -> Any:
        """The example."""
        return self._examples[int(self._chosen_N[index])]

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


def training_summary(
    folder: Path,
    predictor: Predictor,
    tables: Mapping[str, Examples],
    *,
    data: Counts | None = None,
    answered: Answered | None = None,
) -> TrainingSummary:
    """Summarise the run in `folder`. `tables`: validation examples by task; `data`: row counts of each split.

    Answers in `answered` are used instead of predicting again, which on the demonstration saves nearly all the time.

    Raises BundleError for a folder without a manifest, and OSError or ValueError for unreadable files.
    """
    manifest = read_manifest(folder)
    scores = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    history = read_history(folder / HISTORY)
    tasks = {
        name: _task_facts(
            task,
            scores.get(name, {}),
            _answers(predictor, name, tables, answered or {}),
            {FROZEN: history.headlines.get(name, {}).get(0), TEACHER: history.teachers.get(name)},
        )
        for name, task in predictor.tasks.items()
    }
    for step, metrics in history.metrics.items():  # older runs have no headlines in their history
        for name, values in metrics.items():
            if name in predictor.tasks and step not in history.headlines[name]:
                history.headlines[name][step] = predictor.tasks[name].main_score(values)
    encoder = manifest["encoder"]
    return TrainingSummary(
        name=folder.resolve().name,
        encoder=str(encoder["name"]),
        max_length=int(encoder["max_length"]),
        tasks=tasks,
        combined={split: all_["combined"] for split, all_ in scores.get("_all", {}).items() if "combined" in all_},
        warnings=warning_lines(scores),
        history=history,
        data=data or {},
        run=(folder / RUN).read_text(encoding="utf-8") if (folder / RUN).exists() else "",
        settings={f"{n}.{key}": v for n, task in manifest["tasks"].items() for key, v in task.items() if key != "name"},
        versions=manifest.get("versions", {}),
        hashes={"model": manifest_hash(manifest), **{n: e["sha256"] for n, e in manifest["files"].items()}},
    )


def _answers(
    predictor: Predictor, name: str, tables: Mapping[str, Examples], answered: Answered
) -> tuple[Sequence[Any], Sequence[Any], int]:
    """Answers and examples, at most MAX_EXAMPLES of each, and the number of all examples."""
    if name in answered:
        answers, examples = (list(EvenlySpaced(values)) for values in answered[name])
        return answers, examples, len(answered[name][1])
    if name not in tables:
        return (), (), 0
    return *answers_for(predictor, predictor.tasks[name], EvenlySpaced(tables[name])), len(tables[name])


def _task_facts(
    task: Task[Any],
    scores: Mapping[str, Metrics],
    validation: tuple[Sequence[Any], Sequence[Any], int],
    others: Mapping[str, float | None],
) -> TaskSummary:
    answers, examples, available = validation
    headline = headline_name(task, next(iter(scores.values()), {}))
    score = scores.get("validation", {}).get(headline)
    interval = None
    if examples and score is not None:
        evidence = task.evidence(answers, examples, [task.cluster(example) for example in examples])
        interval = score_interval(evidence, score)
    findings = task.findings(answers, examples) if examples else ()
    chance = task.chance(examples) if examples else {}
    baselines = {MOST_COMMON: task.main_score(chance)} if chance else {}
    baselines |= {system: value for system, value in others.items() if value is not None}
    return TaskSummary(task.kind, headline, scores, interval, len(examples), available, findings, baselines)
