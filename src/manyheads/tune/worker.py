"""One trial in a process of its own: `python -m manyheads.tune.worker JSON`, started by a crew."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.crew.worker import worked
from manyheads.durable import replace_file

if TYPE_CHECKING:
    from manyheads.crew.workshop import Job, Workshop
    from manyheads.training.run import Plan, Trained
    from manyheads.training.stop import Stop

PLANNED, OUTCOME = "planned.json", "outcome.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished trial leaves, all of it measured on validation data."""

    score: float
    """Combined."""
    headlines: Mapping[str, float]
    rows: Mapping[str, int]
    """Validation examples of each task."""
    step: int
    """That its weights are of."""

    @staticmethod
    def load(folder: Path) -> Outcome | None:
        """From the folder of a trial; None where it is not finished."""
        path = folder / OUTCOME
        return Outcome(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def work(task: Mapping[str, Any], stop: Stop) -> None:
    """Make a trial, or go on with it."""
    from manyheads.crew.workshop import Job, open_workshop
    from manyheads.training.lock import wait_for

    shop = open_workshop(Path(task["run"]), task["overrides"], Path(task["output"]))
    shop = replace(shop, environment=task["environment"])
    job = Job.from_json(task["job"])
    wait_for(shop.place(job))
    run_trial(shop, job, stop)


def run_trial(shop: Workshop, job: Job, stop: Stop) -> None:
    """Train, and keep what validation data says. Not again on all rows: only the winner is worth that."""
    from manyheads.config.build import device_of, plan_of
    from manyheads.training.progress import Quiet
    from manyheads.training.run import run_to

    folder, file = shop.place(job), shop.file(job)
    if Outcome.load(folder) is not None:
        return
    plan = plan_of(file, shop.dataset, folder, device_of(file.run.training.device), shop.tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / PLANNED, json.dumps({"steps": plan.steps}) + "\n")
    run_to(replace(plan, refit=None), Quiet(), _keep, resume=True, stop=stop)


def _keep(plan: Plan, done: Trained) -> None:
    headlines = {name: done.tasks[name].headline(metrics) for name, metrics in done.validation.items()}
    rows = {name: len(table) for name, table in plan.validation.items()}
    outcome = Outcome(plan.selection.score(done.tasks, done.validation), headlines, rows, done.steps)
    replace_file(plan.output / OUTCOME, json.dumps(asdict(outcome), indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(worked(sys.argv[1], work))
