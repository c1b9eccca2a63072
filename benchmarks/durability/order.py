"""The order of samples: what each step was trained on with 0, 1 and 2 loader workers, and in runs killed inside an epoch.

Each goes over more than an epoch of most tasks. Compared are the rows of every step and the tokens the encoder was
given, in order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durability.forks import Lines, built, carried_out, forked, prepare
from durability.project import make_project
from durability.recorder import read, record
from durability.runs import prints

if TYPE_CHECKING:
    from manyheads.training.plan import Plan

Row = dict[str, Any]
STEPS, SAVE_EVERY = 150, 20
KILLED = (47, 93)
"""Steps done when the run is killed; an epoch has about 133."""
WORKERS = (0, 1, 2)


def measure(work: Path, trials: int) -> Iterator[Row]:
    """A row for each number of workers, with and without kills; all of it `trials` times."""
    project = make_project(work, steps=STEPS, save_every=SAVE_EVERY, evaluate_every=STEPS)
    prepare(project)
    plans = {workers: built(project, [f"training.workers={workers}"]) for workers in WORKERS}
    first: tuple[dict[int, Any], dict[str, str]] | None = None
    for time in range(trials):
        for workers in WORKERS:
            for moments in ((), KILLED):
                name = f"{time}-{workers}-{len(moments)}"
                records, result = _run(
                    plans, workers, moments, project.folder / f"{name}.records", project.output(name)
                )
                first = first or (records, result)
                differing = [
                    step for step in range(STEPS) if any(row != first[0][step][0] for row in records.get(step, [None]))
                ]
                yield {"time": time, "workers": workers, "kills": len(moments), "steps": len(records),
                       "steps_made_twice": sum(len(rows) > 1 for rows in records.values()),
                       "samples": sum(len(rows[0]["sequences"]) for rows in records.values()),
                       "differing_steps": len(differing), "equal": not differing and result == first[1]}  # fmt: skip


def _run(
    plans: dict[int, Plan], workers: int, moments: Sequence[int], records: Path, output: Path
) -> tuple[dict[int, Any], dict[str, str]]:
    """One run, killed at these steps: what it was trained on, and what it left. When it goes on it has other workers."""
    log = records.with_suffix(".log")
    for attempt in range(len(moments) + 1):
        plan = plans[(workers + attempt) % len(plans)]
        last = moments[attempt] if attempt < len(moments) else None

        def work(plan: Plan = plan, last: int | None = last, resume: bool = attempt > 0) -> None:
            record(plan, records)
            carried_out(plan, output, resume=resume, progress=Lines(_end_at(last)))

        status = forked(work, log)
    if status:
        raise RuntimeError(f"a run ended with status {status}: {log.read_text(encoding='utf-8')[-2000:]}")
    return read(records), prints(output)


def _end_at(last: int | None) -> Callable[[int], None]:
    return lambda done: os._exit(0) if done == last else None


def summary(rows: Sequence[Row]) -> Row:
    """Counts."""
    return {
        "trials": len(rows),
        "equal": sum(row["equal"] for row in rows),
        "steps": max((row["steps"] for row in rows), default=0),
        "samples": max((row["samples"] for row in rows), default=0),
        "differing_steps": sum(row["differing_steps"] for row in rows),
    }
