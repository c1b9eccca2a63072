"""One process against two, same global batch: the samples of each step, and the losses of 50 steps.

Without dropout, which is drawn apart in each process. Samples are compared by the tokens that went into the encoders of
both processes together, in any order: which process takes which does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from durability.project import Project, make_project, without_dropout
from durability.recorder import read
from durability.runs import history, several, start

Row = dict[str, Any]
STEPS = 50
WITHIN = 1e-5


def measure(work: Path, trials: int) -> Iterator[Row]:
    """A row for each of `trials` seeds."""
    for seed in range(trials):
        project = make_project(
            work, steps=STEPS, save_every=25, evaluate_every=STEPS, training={"seed": seed, "learning_rate": 2e-4}
        )
        without_dropout(project.encoder)
        _heads_without_dropout(project)
        found = {processes: _run(project, processes) for processes in (1, 2)}
        losses = [found[processes][1] for processes in (1, 2)]
        apart = max(abs(losses[0][key] - losses[1][key]) for key in losses[0].keys() & losses[1].keys())
        same = found[1][0] == found[2][0]
        alike = losses[0].keys() == losses[1].keys() and apart <= WITHIN
        yield {
            "seed": seed,
            "samples_equal": same,
            "losses": len(losses[0]),
            "largest_difference": apart,
            "equal": same and alike,
        }


def _heads_without_dropout(project: Project) -> None:
    run = yaml.safe_load(project.run.read_text(encoding="utf-8"))
    for section in run["tasks"].values():
        if section["type"] != "sentence-embedding":
            section["dropout"] = 0.0
    project.run.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")


def _run(project: Project, processes: int) -> tuple[dict[int, Any], dict[tuple[int, str], float]]:
    """What each step was trained on, and the loss of each task in each step."""
    output, records = project.output(f"by-{processes}"), project.folder / f"records-{processes}"
    arguments = ["-m", "durability.recorder", str(records), "train", str(project.run), "--output", str(output)]
    run = start(several(arguments, processes), project.environment(), project.folder / f"by-{processes}.log")
    if status := run.wait():
        raise RuntimeError(f"the run with {processes} processes ended with status {status}: {run.last_words()}")
    parts = [read(Path(f"{records}.{rank}")) for rank in range(processes)]
    trained = {
        step: (
            rows[0]["rows"],
            sorted(digest for part in parts for row in part.get(step, []) for digest in row["sequences"]),
        )
        for step, rows in parts[0].items()
    }
    rows = [json.loads(line) for line in history(output)]
    return trained, {(row["step"], task): loss for row in rows for task, loss in row.get("loss", {}).items()}


def summary(rows: Sequence[Row]) -> Row:
    """Counts, and the largest difference of any loss."""
    return {
        "trials": len(rows),
        "samples_equal": sum(row["samples_equal"] for row in rows),
        "equal": sum(row["equal"] for row in rows),
        "largest_difference": max((row["largest_difference"] for row in rows), default=0.0),
    }
