"""One run of a comparison in a process of its own: `python -m manyheads.compare.worker JSON`, started by `crew.py`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.crew.worker import worked

if TYPE_CHECKING:
    from manyheads.training.stop import Stop


def work(task: Mapping[str, Any], stop: Stop) -> None:
    """Train a job, or go on with it."""
    from manyheads.compare.command import Asked, open_shop
    from manyheads.compare.jobs import run_job
    from manyheads.crew.workshop import Job
    from manyheads.training.lock import wait_for
    from manyheads.training.progress import Quiet

    shop = open_shop(Asked(Path(task["run"]), Path(task["output"]), overrides=tuple(task["overrides"])))
    shop = replace(shop, environment=task["environment"])
    job = Job.from_json(task["job"])
    wait_for(shop.place(job))
    run_job(shop, job, Quiet(), stop)


if __name__ == "__main__":
    raise SystemExit(worked(sys.argv[1], work))
