"""Trials as the work of a crew: begun, watched at their evaluations, stopped where they fall behind."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.files import load_run
from manyheads.crew.workshop import Job, Workshop
from manyheads.errors import DivergedError, StoppedError
from manyheads.training.checkpoint import Checkpoints
from manyheads.training.log import HISTORY
from manyheads.tune.study import Study, Trial
from manyheads.tune.worker import PLANNED, Outcome

if TYPE_CHECKING:
    from manyheads.crew.hands import Ended
    from manyheads.training.progress import Progress

MOST_REPEATS = 20
"""Proposals in a row that have been tried before: then there is nothing new to try."""


class Trials:
    """The trials of a tuning, up to so many in all, begun within so many seconds."""

    module = "manyheads.tune.worker"

    def __init__(self, shop: Workshop, study: Study, progress: Progress, *, most: int, timeout_s: float | None) -> None:
        self.failed: str | None = None
        """What went wrong with a trial, for reasons that settings do not explain."""
        self._shop, self._study, self._progress, self._most = shop, study, progress, most
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._seed = load_run(shop.path, shop.overrides).run.training.seed
        self._waiting = study.unfinished()
        self._seen = dict[int, int]()
        self._pruned = set[int]()
        self._tried = {self._changes(each.trial): each.trial.number for each in reversed(study.tried())}

    def next(self) -> Trial | None:
        """Trials that were interrupted, then new ones."""
        if self.failed is not None:
            return None
        first = not self._tried or any(trial.number == 0 for trial in self._waiting)  # the one that is always made
        if self._late() and not first:
            return None
        trial = self._waiting.pop(0) if self._waiting else self._new()
        if trial is not None:
            said = ", ".join(f"{name} {value}" for name, value in trial.values.items())
            self._progress.say(f"trial {trial.number}: {said if self._changes(trial) else 'the run file as it is'}")
        return trial

    def task(self, work: Trial) -> Mapping[str, Any]:
        """As JSON."""
        return self._shop.task(self._job(work))

    def unwanted(self, work: Trial) -> bool:
        """Whether it fell out at an evaluation, or time is up; the recipe's own trial always comes to its end."""
        for step, steps, score in self._new_evaluations(work):
            if self._study.report(work, step, steps, score) and work.number > 0:
                self._pruned.add(work.number)
                break
        return work.number in self._pruned or (self._late() and work.number > 0)

    def ended(self, work: Trial, how: Ended) -> None:
        """Write down what became of it."""
        folder = self._shop.place(self._job(work))
        outcome = Outcome.load(folder)
        if work.number in self._pruned:
            self._study.prune(work)
            Checkpoints(folder).clear()
            self._progress.say(f"trial {work.number}: stopped early, others were better by then")
        elif how.status == 0 and outcome is not None:
            self._study.finish(work, outcome)
            scores = "  ".join(f"{name} {score:.4f}" for name, score in outcome.headlines.items())
            self._progress.say(f"trial {work.number}: validation  {scores}  combined {outcome.score:.4f}")
        elif how.status == DivergedError.exit_status:
            self._study.diverge(work, how.words)
            self._progress.say(f"trial {work.number}: diverged")
        elif how.status != StoppedError.exit_status and self.failed is None:
            self.failed = f"trial {work.number}: {how.words}"

    def _late(self) -> bool:
        """Whether time is up."""
        return self._until is not None and time.monotonic() > self._until

    def _new(self) -> Trial | None:
        """A proposal that has not been tried."""
        for _ in range(MOST_REPEATS):
            if self._study.count() >= self._most:
                return None
            trial = self._study.propose()
            before = self._tried.setdefault(self._changes(trial), trial.number)
            if before == trial.number:
                return trial
            self._study.repeat(trial, f"the same as trial {before}")
        return None

    def _new_evaluations(self, trial: Trial) -> Iterator[tuple[int, int, float]]:
        """Step, steps in all and combined score of evaluations that have not been looked at."""
        found = evaluations(self._shop.place(self._job(trial)))
        for step, steps, score in found[self._seen.get(trial.number, 0) :]:
            self._seen[trial.number] = self._seen.get(trial.number, 0) + 1
            yield step, steps, score

    def _changes(self, trial: Trial) -> tuple[str, ...]:
        return self._study.space.changes(trial.values)

    def _job(self, trial: Trial) -> Job:
        return Job(self._seed, (), self._changes(trial))


def evaluations(folder: Path) -> list[tuple[int, int, float]]:
    """Step, steps in all and combined score of each evaluation of a training so far, but that of the untrained encoder."""
    try:
        steps = int(json.loads((folder / PLANNED).read_text(encoding="utf-8"))["steps"])
        lines = (folder / HISTORY).read_bytes().split(b"\n")[:-1]  # the last is not finished, or empty
    except FileNotFoundError:
        return []
    rows = [json.loads(line) for line in lines if b'"combined"' in line]
    return [(row["step"], steps, row["combined"]) for row in rows if row["step"]]
