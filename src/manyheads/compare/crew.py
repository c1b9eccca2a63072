"""Who makes the runs of a comparison: this process one after the other, or several processes beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.compare.jobs import kept_of, run_job
from manyheads.compare.outcome import Outcome
from manyheads.crew.attend import attend
from manyheads.crew.hands import Crew, Ended, hands_of
from manyheads.crew.workshop import Job, Workshop
from manyheads.errors import StoppedError, TrainingError

if TYPE_CHECKING:
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the runs of one comparison."""

    shop: Workshop
    crew: Crew
    progress: Progress
    stop: Stop

    def outcomes(self, jobs: Sequence[Job]) -> dict[Job, Outcome]:
        """Of all jobs, those that were kept among them. Raises StoppedError, TrainingError."""
        return _run_all(self.shop, jobs, self.crew, self.progress, self.stop) if jobs else {}


def _run_all(shop: Workshop, jobs: Sequence[Job], crew: Crew, progress: Progress, stop: Stop) -> dict[Job, Outcome]:
    found = {job: kept for job in jobs if (kept := kept_of(shop, job)) is not None}
    missing = [job for job in jobs if job not in found]
    if found:
        progress.say(f"{len(found)} of {len(jobs)} runs are there already")
    beside = crew.workers > 1 or crew.ray
    if beside and missing:
        _run_beside(shop, missing, crew, progress, stop)
    for number, job in enumerate(missing, start=len(found) + 1):
        if not beside:
            progress.say(f"run {number} of {len(jobs)}: {job.name}")
        found[job] = run_job(shop, job, progress, stop)
        if stop.asked is not None:
            raise StoppedError(f"stopped by {stop.asked} after {number} of {len(jobs)} runs; the same command goes on")
    return found


class _Runs:
    """The runs that are missing. After the first that fails none is begun."""

    module = "manyheads.compare.worker"

    def __init__(self, shop: Workshop, jobs: Sequence[Job], progress: Progress) -> None:
        self.failed: str | None = None
        self._shop, self._progress = shop, progress
        self._waiting, self._of = list(enumerate(jobs, start=1)), len(jobs)

    def next(self) -> Job | None:
        """The next one in order."""
        if not self._waiting or self.failed is not None:
            return None
        number, job = self._waiting.pop(0)
        self._progress.say(f"run {number} of {self._of}: {job.name}")
        return job

    def task(self, work: Job) -> Mapping[str, Any]:
        """As JSON."""
        return self._shop.task(work)

    def unwanted(self, work: Job) -> bool:
        """Never: what is begun is finished."""
        return False

    def ended(self, work: Job, how: Ended) -> None:
        """Remember the first failure."""
        if how.status and self.failed is None:
            self.failed = f"{work.name}: {how.words}"


def _run_beside(shop: Workshop, jobs: Sequence[Job], crew: Crew, progress: Progress, stop: Stop) -> None:
    """The runs that are missing, several at a time."""
    runs = _Runs(shop, jobs, progress)
    with hands_of(crew) as hands:
        attend(hands, runs, stop)
    if stop.asked is not None:
        raise StoppedError(f"stopped by {stop.asked}; what is trained is kept, and the same command goes on")
    if runs.failed is not None:
        raise TrainingError(f"a run of the comparison failed: {runs.failed}")
