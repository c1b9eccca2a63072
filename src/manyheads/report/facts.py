"""What there is to tell of a finished run: from its folder, and from the model's answers to validation examples.

Decided here: mistakes are looked for in at most 2,000 validation examples of each task, spread evenly over them, so that a
report of a large data set takes no longer than one of a small.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.bundle.manifest import METRICS, RUN, manifest_hash, read_manifest
from manyheads.evaluate import Examples, answers_for, warning_lines
from manyheads.html.page import Part
from manyheads.metrics.evidence import Ranks, Tally
from manyheads.report.history import History, read_history

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics
    from manyheads.predict import Predictor
    from manyheads.tasks.base import Task

HISTORY = "history.jsonl"
MOST_EXAMPLES = 2000
DRAWS = 1000
"""Of the bootstrap."""
LEVEL = 0.95
FEWEST = 10
"""Clusters from which an interval is drawn."""
COMMONEST = "always the commonest answer"
FROZEN = "frozen encoder"
"""Systems that need less than the trained one."""
TEACHER = "its teacher"
"""The model that a task learned from."""

Counts = Mapping[str, Mapping[str, Mapping[str, int | None]]]
"""`{task: {split: {read, used, windowed, skipped}}}`; what is not known is left out."""
Answered = Mapping[str, tuple[Sequence[Any], Sequence[Any]]]
"""By task the answers and the examples that `answers_for` gave."""


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One task."""

    kind: str
    headline: str
    """The name of the figure that counts."""
    scores: Mapping[str, Metrics]
    """By split."""
    interval: tuple[float, float] | None
    """Of the headline figure on validation data."""
    examined: int
    """Validation examples whose answers were looked at."""
    available: int
    """Validation examples there are."""
    findings: Sequence[Part]
    """What is shown of its mistakes."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """The headline figure on validation data of what needs less: a head that reads nothing, and the untrained encoder."""


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """A finished run."""

    name: str
    """Of its folder."""
    encoder: str
    max_length: int
    tasks: Mapping[str, TaskFacts]
    combined: Mapping[str, float]
    """By split."""
    warnings: Sequence[str]
    """Heads that show no learning, and tasks that a combined score leaves out."""
    history: History
    data: Counts
    run: str
    """The run file, as it stands in the folder."""
    settings: Mapping[str, Any]
    """As settled from the data: `task.key`."""
    versions: Mapping[str, str]
    hashes: Mapping[str, str]


class Spread:
    """At most so many of some examples, evenly spread."""

    def __init__(self, examples: Examples, most: int = MOST_EXAMPLES) -> None:
        """All of them where there are no more."""
        self._examples = examples
        self._chosen_N = np.linspace(0, len(examples) - 1, min(most, len(examples))).round().astype(np.int64)

    def __len__(self) -> int:
        return len(self._chosen_N)

    def __getitem__(self, index: int) -> Any:
        """The example."""
        return self._examples[int(self._chosen_N[index])]

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


def training_facts(
    folder: Path,
    predictor: Predictor,
    tables: Mapping[str, Examples],
    *,
    data: Counts | None = None,
    answered: Answered | None = None,
) -> TrainingFacts:
    """All of it. `tables`: validation examples by task; `data`: rows of each split, for whoever counted them.

    Tasks in `answered` are not asked again: on the demonstration that is all but a tenth of a second of the work.

    Raises BundleError for a folder without a manifest, OSError and ValueError where its files cannot be read.
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
    for step, metrics in history.metrics.items():  # of runs that did not note headlines
        for name, values in metrics.items():
            if name in predictor.tasks and step not in history.headlines[name]:
                history.headlines[name][step] = predictor.tasks[name].headline(values)
    encoder = manifest["encoder"]
    return TrainingFacts(
        name=folder.resolve().name,
        encoder=str(encoder["name"]),
        max_length=int(encoder["max_length"]),
        tasks=tasks,
        combined={split: all_["combined"] for split, all_ in scores.get("_all", {}).items() if "combined" in all_},
        warnings=warning_lines(scores),
        history=history,
        data=data or {},
        run=(folder / RUN).read_text(encoding="utf-8") if (folder / RUN).exists() else "",
        settings={
            f"{name}.{key}": value
            for name, task in manifest["tasks"].items()
            for key, value in task.items()
            if key != "name"
        },
        versions=manifest.get("versions", {}),
        hashes={"model": manifest_hash(manifest), **{n: e["sha256"] for n, e in manifest["files"].items()}},
    )


def _answers(
    predictor: Predictor, name: str, tables: Mapping[str, Examples], answered: Answered
) -> tuple[Sequence[Any], Sequence[Any], int]:
    """Answers and examples, at most MOST_EXAMPLES of each, and how many examples there are."""
    if name in answered:
        answers, examples = (list(Spread(values)) for values in answered[name])
        return answers, examples, len(answered[name][1])
    if name not in tables:
        return (), (), 0
    return *answers_for(predictor, predictor.tasks[name], Spread(tables[name])), len(tables[name])


def _task_facts(
    task: Task[Any],
    scores: Mapping[str, Metrics],
    asked: tuple[Sequence[Any], Sequence[Any], int],
    others: Mapping[str, float | None],
) -> TaskFacts:
    answers, examples, available = asked
    headline = headline_name(task, next(iter(scores.values()), {}))
    score = scores.get("validation", {}).get(headline)
    interval = None
    if examples and score is not None:
        evidence = task.evidence(answers, examples, [task.cluster(example) for example in examples])
        interval = drawn_interval(evidence, score)
    found = task.findings(answers, examples) if examples else ()
    chance = task.chance(examples) if examples else {}
    baselines = {COMMONEST: task.headline(chance)} if chance else {}
    baselines |= {system: value for system, value in others.items() if value is not None}
    return TaskFacts(task.kind, headline, scores, interval, len(examples), available, found, baselines)


def headline_name(task: Task[Any], metrics: Metrics) -> str:
    """The name of the figure that `task.headline` gives."""
    if not metrics or task.main_metric in metrics:
        return task.main_metric
    value = task.headline(metrics)
    return next((name for name, one in metrics.items() if one == value), task.main_metric)


def drawn_interval(evidence: Tally | Ranks, score: float) -> tuple[float, float] | None:
    """Percentile bootstrap over clusters (Efron 1979) around a score; None where there are too few to draw from.

    Where the evidence is of a part of the examples, its interval is moved to the score of all of them.
    It ends where scores end.
    """
    if evidence.clusters < FEWEST:
        return None
    draw = np.random.default_rng(0)
    weights_BC = draw.multinomial(evidence.clusters, np.full(evidence.clusters, 1 / evidence.clusters), DRAWS)
    whole = float(evidence.scores(np.ones((1, evidence.clusters)))[0])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(evidence.scores(weights_BC), (tail, 1 - tail)).tolist()
    least = -1.0 if isinstance(evidence, Ranks) else 0.0
    return max(score + low - whole, least), min(score + high - whole, 1.0)
