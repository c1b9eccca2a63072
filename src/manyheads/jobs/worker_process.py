"""What a worker process does around its job: `python -m SOME.MODULE JSON`, started by `workers.py`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import ManyheadsError

if TYPE_CHECKING:
    from manyheads.jobs.experiment import Experiment
    from manyheads.jobs.job import Job
    from manyheads.training.stop import Stop


def run_worker(argument: str, work: Callable[[Mapping[str, Any], Stop], None]) -> int:
    """Set the device, the threads and the signal handlers, call `work` with the JSON payload, and return the exit status."""
    payload: dict[str, Any] = json.loads(argument)
    if payload["device"] is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(payload["device"])  # before torch looks
    import torch

    torch.set_num_threads(payload["threads"])
    from manyheads.training.stop import StopSignals

    try:
        with StopSignals() as stop:
            threading.Thread(target=_stop_with_parent, daemon=True).start()
            work(payload, stop)
    except ManyheadsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


def open_job(payload: Mapping[str, Any]) -> tuple[Experiment, Job]:
    """The experiment and the job of `Experiment.payload`, once no other process trains in the job's folder."""
    from dataclasses import replace

    from manyheads.jobs.experiment import open_experiment
    from manyheads.jobs.job import Job
    from manyheads.training.lock import wait_for

    experiment = open_experiment(Path(payload["run"]), payload["overrides"], Path(payload["output"]))
    experiment, job = replace(experiment, environment=payload["environment"]), Job.from_json(payload["job"])
    wait_for(experiment.folder_of(job))
    return experiment, job


def _stop_with_parent() -> None:
    """Raise SIGTERM when the pipe from the parent breaks."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
