"""The cost of a shared model and of separate ones: parameters, memory, and time for 1,000 texts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.jobs.experiment import Experiment
    from manyheads.predict import Predictor
    from manyheads.tasks.base import EncoderInput

TEXTS = 200
"""Repetitions differ by 3 % with this many, on 2 cores."""
REPEATS = 3


def costs(experiment: Experiment, seed: int) -> dict[str, dict[str, float]]:
    """Costs of the shared model and of one model for each task.

    Times answer every task about the same texts: in one pass, or in one pass for each task. Untrained models are measured,
    as weights make no difference to time.
    """
    from manyheads.jobs.job import Job
    from manyheads.training.evaluation import predictor_of
    from manyheads.training.stop import Stop

    plan = experiment.plan(Job(seed))
    heads = [sum(p.numel() for p in head.parameters()) for head in plan.model.heads.values()]
    encoder = sum(p.numel() for p in plan.model.encoder.parameters())
    shared = sum(p.numel() for p in plan.model.parameters())
    single = sum(encoder + size for size in heads)
    together, separate = _seconds(predictor_of(plan, Stop()), _inputs(experiment))
    return {
        "shared": {"parameters": shared, "megabytes": 4 * shared / 1e6, "seconds_per_1000": together},
        "single": {"parameters": single, "megabytes": 4 * single / 1e6, "seconds_per_1000": separate},
    }


def _inputs(experiment: Experiment) -> list[dict[str, EncoderInput]]:
    """Texts of all tasks in turn, each for every task that reads plain text; pairs only for their own task."""
    from manyheads.compare.runs import compared_split

    tables = {name: data.table(compared_split(experiment.dataset, name)) for name, data in experiment.dataset.items()}
    found: list[dict[str, EncoderInput]] = []
    for i in range(TEXTS):
        name = list(tables)[i % len(tables)]
        table, task = tables[name], experiment.dataset[name].task
        first = task.sources_of_example(table[i // len(tables) % len(table)])[0]
        if first.source.second is not None:
            found.append({name: first})
            continue
        row = {"text": first.source.first}
        inputs = {other: data.task.source_of_row(row) for other, data in experiment.dataset.items()}
        found.append({other: entry for other, entry in inputs.items() if entry is not None})
    return found


def _seconds(predictor: Predictor, inputs: Sequence[Mapping[str, EncoderInput]]) -> tuple[float, float]:
    """Seconds for 1,000 texts with all tasks in one pass, and with one pass for each; medians of interleaved repeats."""
    names = list(dict.fromkeys(name for some in inputs for name in some))
    by_task: list[list[dict[str, Any]]] = [[{name: some[name]} for some in inputs if name in some] for name in names]

    def seconds(passes: Sequence[Sequence[Mapping[str, EncoderInput]]]) -> float:
        started = time.perf_counter()
        for some in passes:
            predictor.answer(list(some))
        return (time.perf_counter() - started) * 1000 / len(inputs)

    seconds([inputs])  # the first call starts threads
    pairs = [(seconds([inputs]), seconds(by_task)) for _ in range(REPEATS)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)
