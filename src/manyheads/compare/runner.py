"""Trains the runs of a comparison, one after the other in this process or several at a time in workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.compare.outcome import Outcome
from manyheads.compare.runs import load_outcome, run_job
from manyheads.errors import StoppedError, TrainingError
from manyheads.jobs.experiment import Experiment
from manyheads.jobs.job import Job
from manyheads.jobs.scheduler import run_jobs
from manyheads.jobs.workers import Exit, WorkerSpec, open_workers

if TYPE_CHECKING:
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop


@dataclass(frozen=True, slots=True)
class Runner:
    """Trains the jobs of one experiment, and loads those that are trained already."""

    experiment: Experiment
    workers: WorkerSpec
    progress: Progress
    stop: Stop

    def outcomes(self, jobs: Sequence[Job]) -> dict[Job, Outcome]:
        """The outcome of each job. Raises StoppedError, TrainingError."""
        found = {job: outcome for job in jobs if (outcome := load_outcome(self.experiment, job)) is not None}
        missing = [job for job in jobs if job not in found]
        if found:
            self.progress.say(f"{len(found)} of {len(jobs)} runs are finished already")
        in_workers = self.workers.count > 1 or self.workers.ray is not None
        if in_workers and missing:
            self._run_in_workers(missing)
        for number, job in enumerate(missing, start=len(found) + 1):
            if not in_workers:
                self.progress.say(f"run {number} of {len(jobs)}: {job.name}")
            found[job] = run_job(self.experiment, job, self.progress, self.stop)
            if self.stop.asked is not None:
                raise StoppedError(f"stopped by {self.stop.asked} after {number} of {len(jobs)} runs; "
                                   "run the same command to continue")  # fmt: skip
        return {job: found[job] for job in jobs}

    def _run_in_workers(self, jobs: Sequence[Job]) -> None:
        queue = _Queue(self.experiment, jobs, self.progress)
        with open_workers(self.workers) as workers:
            run_jobs(workers, queue, self.stop)
        if self.stop.asked is not None:
            raise StoppedError(f"stopped by {self.stop.asked}; finished runs are kept, run the same command to continue")
        if queue.failure is not None:
            raise TrainingError(f"a run of the comparison failed: {queue.failure}")


class _Queue:
    """Jobs in order. No job is started after one has failed."""

    module = "manyheads.compare.worker"

    def __init__(self, experiment: Experiment, jobs: Sequence[Job], progress: Progress) -> None:
        self.failure: str | None = None
        self._experiment, self._progress = experiment, progress
        self._waiting, self._total = list(enumerate(jobs, start=1)), len(jobs)

    def next(self) -> Job | None:
        if not self._waiting or self.failure is not None:
            return None
        number, job = self._waiting.pop(0)
        self._progress.say(f"run {number} of {self._total}: {job.name}")
        return job

    def payload(self, job: Job) -> Mapping[str, Any]:
        return self._experiment.payload(job)

    def should_stop(self, job: Job) -> bool:
        return False

    def finished(self, job: Job, status: Exit) -> None:
        if status.status and self.failure is None:
            self.failure = f"{job.name}: {status.message}"
