"""Workers kept busy until no job is left, by one thread that polls them in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from manyheads.jobs.workers import Exit, Worker
    from manyheads.training.stop import Stop

POLL_S = 0.2

J = TypeVar("J")


class JobQueue(Protocol[J]):
    """The jobs to run."""

    module: str
    """Run as `python -m`."""

    def next(self) -> J | None:
        """The next job to start, None if there is none. Called again after every exit."""

    def payload(self, job: J) -> Mapping[str, Any]:
        """The JSON that the module is run with."""

    def should_stop(self, job: J) -> bool:
        """Whether to stop a running job. Called at every poll."""

    def finished(self, job: J, status: Exit) -> None:
        """Record the exit of a job."""


def run_jobs(workers: Sequence[Worker], queue: JobQueue[J], stop: Stop) -> None:
    """Run all jobs of a queue. Once `stop` is asked no job is started, and running ones are asked to stop."""
    stop.patient = True  # a signal is passed on to the workers
    try:
        _run(workers, queue, stop)
    finally:
        stop.patient = False


def _run(workers: Sequence[Worker], queue: JobQueue[J], stop: Stop) -> None:
    running: dict[int, J] = {}
    stopping: set[int] = set()
    while True:
        for number, worker in enumerate(workers):
            if number not in running and stop.asked is None and (job := queue.next()) is not None:
                worker.start(queue.module, queue.payload(job))
                running[number] = job
        if not running:
            return
        time.sleep(POLL_S)
        for number, job in list(running.items()):
            status = workers[number].poll()
            if number not in stopping and (queue.should_stop(job) or stop.asked is not None):
                stopping.add(number)
                if status is None:
                    workers[number].stop()
            if status is not None:
                del running[number]
                stopping.discard(number)
                queue.finished(job, status)
