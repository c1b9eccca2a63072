"""One trial in a process of its own: `python -m manyheads.tune.worker JSON`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.durable import replace_file
from manyheads.jobs.worker_process import open_job, run_worker

if TYPE_CHECKING:
    from manyheads.training.plan import Plan, Trained
    from manyheads.training.stop import Stop

PLANNED, OUTCOME = "planned.json", "outcome.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is kept of a finished trial, all of it measured on validation data."""

    score: float
    """The combined score."""
    headlines: Mapping[str, float]
    rows: Mapping[str, int]
    """Validation examples of each task."""
    step: int
    """The step whose weights were scored."""

    @staticmethod
    def load(folder: Path) -> Outcome | None:
        """Read from the folder of a trial; None if it is not finished."""
        path = folder / OUTCOME
        return Outcome(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def work(payload: Mapping[str, Any], stop: Stop) -> None:
    """Train and score a trial, or resume it. There is no refit on all rows, which only the best trial is worth."""
    from manyheads.training.progress import Quiet
    from manyheads.training.run import run_plan

    experiment, job = open_job(payload)
    folder = experiment.folder_of(job)
    if Outcome.load(folder) is not None:
        return
    plan = experiment.plan(job)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / PLANNED, json.dumps({"steps": plan.steps}) + "\n")
    run_plan(replace(plan, refit=None), Quiet(), _keep, resume=True, stop=stop)


def _keep(plan: Plan, done: Trained) -> None:
    headlines = {name: done.tasks[name].main_score(metrics) for name, metrics in done.validation.items()}
    rows = {name: len(table) for name, table in plan.validation.items()}
    outcome = Outcome(plan.selection.score(done.tasks, done.validation), headlines, rows, done.steps)
    replace_file(plan.output / OUTCOME, json.dumps(asdict(outcome), indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(run_worker(sys.argv[1], work))
