"""What the shared model costs beside separate ones: parameters, memory, time for 1,000 texts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.crew.workshop import Workshop
    from manyheads.predict import Predictor
    from manyheads.tasks.base import EncoderInput

TEXTS = 200
"""Enough for 3 % between repetitions on 2 cores."""
REPEATS = 3


def costs(shop: Workshop, seed: int) -> dict[str, dict[str, float]]:
    """Of the shared model and of one model for each task, which is what separate training leaves.

    Time is that of answering every task about the same texts: once for all of them, or once for each. Its weights make no
    difference to a model's time, so none is trained here.
    """
    from manyheads.config.build import device_of, plan_of
    from manyheads.crew.workshop import Job
    from manyheads.training.course import predictor_of
    from manyheads.training.stop import Stop

    job = Job(seed)
    file = shop.file(job)
    plan = plan_of(file, shop.dataset, shop.place(job), device_of(file.run.training.device), shop.tokenizer)
    heads = {name: sum(p.numel() for p in head.parameters()) for name, head in plan.model.heads.items()}
    encoder = sum(p.numel() for p in plan.model.encoder.parameters())
    shared = sum(p.numel() for p in plan.model.parameters())
    single = sum(encoder + size for size in heads.values())
    together, apart = _seconds(predictor_of(plan, Stop()), _asks(shop))
    return {
        "shared": {"parameters": shared, "megabytes": 4 * shared / 1e6, "seconds_per_1000": together},
        "single": {"parameters": single, "megabytes": 4 * single / 1e6, "seconds_per_1000": apart},
    }


def _asks(shop: Workshop) -> list[dict[str, EncoderInput]]:
    """Texts of all tasks in turn, each asked of every task that takes a plain text; questions of their own task."""
    from manyheads.compare.jobs import compared_split

    tables = {name: shop.dataset[name].table(compared_split(shop.dataset, name)) for name in shop.dataset}
    found: list[dict[str, EncoderInput]] = []
    for i in range(TEXTS):
        name = list(tables)[i % len(tables)]
        table, task = tables[name], shop.dataset[name].task
        first = task.sources_of_example(table[i // len(tables) % len(table)])[0]
        if first.source.second is not None:
            found.append({name: first})
            continue
        row = {"text": first.source.first}
        asked = {other: data.task.source_of_row(row) for other, data in shop.dataset.items()}
        found.append({other: entry for other, entry in asked.items() if entry is not None})
    return found


def _seconds(predictor: Predictor, inputs: Sequence[Mapping[str, EncoderInput]]) -> tuple[float, float]:
    """Of 1,000 texts, all tasks in one pass and each in one of its own; medians of interleaved runs."""
    names = list(dict.fromkeys(name for some in inputs for name in some))
    alone: list[list[dict[str, Any]]] = [[{name: some[name]} for some in inputs if name in some] for name in names]

    def took(rounds: Sequence[Sequence[Mapping[str, EncoderInput]]]) -> float:
        started = time.perf_counter()
        for some in rounds:
            predictor.answer(list(some))
        return (time.perf_counter() - started) * 1000 / len(inputs)

    took([inputs])  # the first one starts threads
    pairs = [(took([inputs]), took(alone)) for _ in range(REPEATS)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)
