"""Who makes the runs of a comparison: this process one after the other, or several processes beside one another."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manyheads.compare.jobs import Job, Workshop, run_job
from manyheads.compare.outcome import Outcome
from manyheads.errors import StoppedError, TrainingError

if TYPE_CHECKING:
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop

LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Crew:
    """How many processes make runs; with several CUDA devices each process has one."""

    workers: int = 1


def run_all(shop: Workshop, jobs: Sequence[Job], crew: Crew, progress: Progress, stop: Stop) -> dict[Job, Outcome]:
    """The outcomes of all jobs, those that were kept among them. Raises StoppedError, TrainingError."""
    found = {job: kept for job in jobs if (kept := Outcome.load(shop.place(job))) is not None}
    missing = [job for job in jobs if job not in found]
    if found:
        progress.say(f"{len(found)} of {len(jobs)} runs are there already")
    if crew.workers > 1 and missing:
        _run_beside(shop, missing, crew, progress, stop)
    for number, job in enumerate(missing, start=len(found) + 1):
        if crew.workers == 1:
            progress.say(f"run {number} of {len(jobs)}: {job.name}")
        found[job] = run_job(shop, job, progress, stop)
        if stop.asked is not None:
            raise StoppedError(f"stopped by {stop.asked} after {number} of {len(jobs)} runs; the same command goes on")
    return found


def _run_beside(shop: Workshop, jobs: Sequence[Job], crew: Crew, progress: Progress, stop: Stop) -> None:
    """The runs that are missing, several at a time. The first that fails ends the others' turn."""
    import torch

    devices, threads = torch.cuda.device_count(), max(1, torch.get_num_threads())
    waiting, failed = list(enumerate(jobs, start=1)), list[str]()
    stop.patient = True  # a signal is passed on below

    def work(worker: int) -> None:
        while waiting and not failed and stop.asked is None:
            number, job = waiting.pop(0)
            progress.say(f"run {number} of {len(jobs)}: {job.name}")
            task = {"run": str(shop.path), "output": str(shop.folder), "overrides": shop.overrides,
                    "job": job.to_json(), "threads": threads, "device": worker % devices if devices else None}  # fmt: skip
            words = _finish(json.dumps(task), stop)
            if words is not None:
                failed.append(f"{job.name}: {words}")

    with ThreadPoolExecutor(crew.workers) as pool:
        list(pool.map(work, range(crew.workers)))
    if stop.asked is not None:
        raise StoppedError(f"stopped by {stop.asked}; what is trained is kept, and the same command goes on")
    if failed:
        raise TrainingError(f"a run of the comparison failed: {failed[0]}")


def _finish(task: str, stop: Stop) -> str | None:
    """Have a process make a run; its last words if it failed."""
    command = [sys.executable, "-m", "manyheads.compare.worker", task]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        told = False
        while process.poll() is None:
            time.sleep(LOOK_S)
            if stop.asked is not None and not told:
                told = True
                process.terminate()
        words = process.stderr.read().strip().splitlines() if process.stderr else []
    return None if process.returncode == 0 else (words or [f"exit status {process.returncode}"])[-1]
