"""Steps that cannot be right: a loss or a gradient that is not a number, once and in a row.

The run must end with the weights and scores of a run in which just those steps were left out, and the steps it tells of
as bad must be just those. Of 20 in a row, which are more than the 10 that are put up with, the run goes back to a
checkpoint; of 40 it ends with status 3, and its last checkpoint is whole.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durability.project import EVALUATE_EVERY, SAVE_EVERY, STEPS, Project, make_project
from durability.runs import CHECKPOINTS, history, prints, start

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """What is spoiled, and what must come of it."""

    what: str
    task: str
    first: int
    count: int
    status: int = 0

    @property
    def name(self) -> str:
        """For the table."""
        times = "in one step" if self.count == 1 else f"in {self.count} steps in a row"
        return f"{self.what} of {self.task} {times}"


CASES = (
    Case("loss", "section", 40, 1),
    Case("loss", "entities", 0, 1),
    Case("gradient", "answers", 70, 1),
    Case("gradient", "similarity", 71, 5),
    Case("loss", "section", 100, 20),
    Case("gradient", "section", 100, 20),
    Case("loss", "answers", 100, 40, status=3),
)


def measure(work: Path, trials: int) -> Iterator[Row]:
    """A row for each case, of the first `trials`."""
    project = make_project(work, steps=STEPS, save_every=SAVE_EVERY, evaluate_every=EVALUATE_EVERY)
    without: dict[tuple[int, int], Path] = {}
    for number, case in enumerate(CASES[:trials]):
        output, log = project.output(f"case-{number}"), project.folder / f"case-{number}.log"
        status = _run(project, case, case.what, output, log)
        row = {"case": case.name, "status": status, **told(output)}
        if case.status:
            yield {**row, "right": status == case.status and row["turned_back"] == 1 and _sound(output)}
            continue
        steps = (case.first, case.count)
        if steps not in without:
            without[steps] = project.output(f"without-{number}")
            if _run(project, case, "nothing", without[steps], project.folder / f"without-{number}.log"):
                raise RuntimeError(f"the run without steps {steps} failed")
        alike = prints(output).items() - prints(without[steps]).items()
        bad = list(range(case.first, case.first + case.count))
        weights_equal = {name for name, _ in alike} <= {"history.jsonl"}
        losses_equal = _losses(output, bad) == _losses(without[steps], bad)
        right = status == 0 and weights_equal and losses_equal and row["left_out"] == bad
        yield {**row, "weights_equal": weights_equal, "losses_equal": losses_equal, "right": right}


def _run(project: Project, case: Case, what: str, output: Path, log: Path) -> int:
    steps = [str(case.first), str(case.count)]
    command = [
        sys.executable,
        "-m",
        "durability.poison",
        what,
        case.task,
        *steps,
        "train",
        str(project.run),
        "--output",
        str(output),
    ]
    return start(command, project.environment(), log).wait()


def told(output: Path) -> Row:
    """The steps that the history says were left out, and how often the run went back."""
    rows = [json.loads(line) for line in history(output)]
    back = [row for row in rows if "turned_back_to" in row]
    left_out = {row["step"] for row in rows if "skipped" in row} | {step for row in back for step in row["left_out"]}
    return {"left_out": sorted(left_out), "turned_back": len(back)}


def _losses(output: Path, bad: Sequence[int]) -> dict[int, str]:
    """The record of every step but the bad ones, as it was made last."""
    rows = [json.loads(line) for line in history(output)]
    return {row["step"]: json.dumps(row, sort_keys=True) for row in rows if "loss" in row and row["step"] not in bad}


def _sound(output: Path) -> bool:
    """Whether the newest checkpoint is whole, and every number in it finite."""
    from manyheads.training.checkpoint import Checkpoints, read_checkpoint

    step = Checkpoints(output).steps()[-1]
    snapshot = read_checkpoint(output / CHECKPOINTS / f"step-{step:08d}")
    return all(bool(tensor.isfinite().all()) for tensors in snapshot.tensors.values() for tensor in tensors.values())


def summary(rows: Sequence[Row]) -> Row:
    """Counts."""
    return {"trials": len(rows), "right": sum(row["right"] for row in rows)}
