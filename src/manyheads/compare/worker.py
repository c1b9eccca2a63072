"""One run of a comparison in a process of its own: `python -m manyheads.compare.worker JSON`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from manyheads.jobs.worker_process import open_job, run_worker

if TYPE_CHECKING:
    from manyheads.training.stop import Stop


def work(payload: Mapping[str, Any], stop: Stop) -> None:
    """Train the job of a payload, or resume it."""
    from manyheads.compare.runs import run_job
    from manyheads.training.progress import Quiet

    experiment, job = open_job(payload)
    run_job(experiment, job, Quiet(), stop)


if __name__ == "__main__":
    raise SystemExit(run_worker(sys.argv[1], work))
