"""The queue of trials: started, watched at their evaluations, stopped if they fall behind."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.files import load_run
from manyheads.errors import DivergedError, StoppedError
from manyheads.jobs.experiment import Experiment
from manyheads.jobs.job import Job
from manyheads.training.checkpoint import Checkpoints
from manyheads.training.log import HISTORY
from manyheads.tune.result import meaningful
from manyheads.tune.study import Study, Trial
from manyheads.tune.worker import PLANNED, Outcome

if TYPE_CHECKING:
    from manyheads.jobs.workers import Exit
    from manyheads.training.progress import Progress

MOST_REPEATS = 20
"""After this many repeated proposals in a row there is nothing new to try."""


class TrialQueue:
    """The trials of a tuning, up to a total number and a time limit."""

    module = "manyheads.tune.worker"

    def __init__(
        self, experiment: Experiment, study: Study, progress: Progress, *, trials: int, timeout_s: float | None
    ) -> None:
        self.failure: str | None = None
        """Why a trial failed, if its settings do not explain it."""
        self._experiment, self._study, self._progress, self._trials = experiment, study, progress, trials
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._seed = load_run(experiment.path, experiment.overrides).run.training.seed
        self._waiting = study.unfinished()
        self._evaluations_seen = dict[int, int]()
        self._pruned = set[int]()
        self._tried = {self._changes(each.trial): each.trial.number for each in reversed(study.history())}

    def next(self) -> Trial | None:
        """Interrupted trials, then new ones. The first trial is made whatever the time limit."""
        if self.failure is not None:
            return None
        first = not self._tried or any(trial.number == 0 for trial in self._waiting)
        if self._is_late() and not first:
            return None
        trial = self._waiting.pop(0) if self._waiting else self._new_trial()
        if trial is not None:
            values = ", ".join(f"{name} {value}" for name, value in meaningful(trial.values).items())
            self._progress.say(f"trial {trial.number}: {values if self._changes(trial) else 'the run file as it is'}")
        return trial

    def payload(self, job: Trial) -> Mapping[str, Any]:
        """The trial's job as JSON."""
        return self._experiment.payload(self._job(job))

    def should_stop(self, job: Trial) -> bool:
        """Whether the trial has fallen behind or time is up; never for the first trial."""
        for evaluation in self._new_evaluations(job):
            if self._study.report(job, *evaluation) and job.number > 0:
                self._pruned.add(job.number)
                break
        return job.number in self._pruned or (self._is_late() and job.number > 0)

    def finished(self, job: Trial, status: Exit) -> None:
        """Record how the trial ended."""
        folder = self._experiment.folder_of(self._job(job))
        outcome = Outcome.load(folder)
        if job.number in self._pruned:
            self._study.prune(job)
            Checkpoints(folder).clear()
            self._progress.say(f"trial {job.number}: stopped early, it had fallen behind")
        elif status.status == 0 and outcome is not None:
            self._study.finish(job, outcome)
            scores = "  ".join(f"{name} {score:.4f}" for name, score in outcome.headlines.items())
            self._progress.say(f"trial {job.number}: validation  {scores}  combined {outcome.score:.4f}")
        elif status.status == DivergedError.exit_status:
            self._study.diverge(job, status.message)
            self._progress.say(f"trial {job.number}: diverged")
        elif status.status != StoppedError.exit_status and self.failure is None:
            self.failure = f"trial {job.number}: {status.message}"

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _new_trial(self) -> Trial | None:
        """A proposal with settings that have not been tried."""
        for _ in range(MOST_REPEATS):
            if self._study.count() >= self._trials:
                return None
            trial = self._study.propose()
            earlier = self._tried.setdefault(self._changes(trial), trial.number)
            if earlier == trial.number:
                return trial
            self._study.repeat(trial, f"the same as trial {earlier}")
        return None

    def _new_evaluations(self, trial: Trial) -> Iterator[tuple[int, int, float]]:
        found = evaluations(self._experiment.folder_of(self._job(trial)))
        for evaluation in found[self._evaluations_seen.get(trial.number, 0) :]:
            self._evaluations_seen[trial.number] = self._evaluations_seen.get(trial.number, 0) + 1
            yield evaluation

    def _changes(self, trial: Trial) -> tuple[str, ...]:
        return self._study.space.changes(trial.values)

    def _job(self, trial: Trial) -> Job:
        return Job(self._seed, (), self._changes(trial))


def evaluations(folder: Path) -> list[tuple[int, int, float]]:
    """Step, total steps and combined score of each evaluation so far, without that of the untrained encoder."""
    try:
        steps = int(json.loads((folder / PLANNED).read_text(encoding="utf-8"))["steps"])
        lines = (folder / HISTORY).read_bytes().split(b"\n")[:-1]  # the last one is unfinished or empty
    except FileNotFoundError:
        return []
    rows = [json.loads(line) for line in lines if b'"combined"' in line]
    return [(row["step"], steps, row["combined"]) for row in rows if row["step"]]
