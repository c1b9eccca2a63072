"""Tracked toy runs: stopped, killed and resumed; and a tracker in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from manyheads.errors import StoppedError
from manyheads.training.stop import Stop
from manyheads.training.trackers.base import NOTHING, Mark, Result, Resumed, RunFacts, Status
from plans import plan
from runs import PulledError, Watch, run_training

STEPS = 6
BASE = (f"training.steps={STEPS}", "training.evaluate_every=3", "training.save_every=2")
TASKS = ("entities", "section", "answers", "similarity")
EVERY_STEP = {"rate", "gradient_norm", "tokens", *(f"{kind}/{task}" for kind in ("loss", "weight") for task in TASKS)}


def tracked(project: Path, name: str, *overrides: str, resume: bool = False, **watched: int) -> Watch:
    """A run with a tracker; with `after` it is stopped, with `pull` it ends as by a power cut."""
    stop = Stop()
    watch = Watch(stop=stop, after=watched.get("after"), pull=watched.get("pull"))
    made = plan(project, *BASE, f"training.report_to={name}", *overrides)
    if watched:
        with pytest.raises((StoppedError, PulledError)):
            run_training(made, watch, resume=resume, stop=stop)
    else:
        run_training(made, watch, resume=resume, stop=stop)
    return watch


@dataclass
class Store:
    """What a server has: by run, the points of each number, and the status."""

    points: dict[str, dict[str, list[tuple[int, float]]]] = field(default_factory=dict)
    ends: list[tuple[Status, Path | None]] = field(default_factory=list)
    facts: list[RunFacts] = field(default_factory=list)
    resumed: list[Resumed] = field(default_factory=list)
    fails_in: str = ""
    """The method that raises."""
    calls: int = 0

    def steps(self, name: str) -> list[int]:
        """Steps of a number in the only run."""
        [run] = self.points.values()
        return [step for step, _ in run.get(name, [])]


class Remembering:
    """Records in a `Store`."""

    key: str

    def __init__(self, store: Store) -> None:
        self.store = store

    def _call(self, method: str) -> None:
        if self.store.fails_in == method:
            self.store.calls += 1
            raise ConnectionError("the server is gone\nand so on")

    def start(self, facts: RunFacts, resumed: Resumed) -> Mark:
        self._call("start")
        self.store.facts.append(facts)
        self.store.resumed.append(resumed)
        self.key = resumed.key or f"run-{len(self.store.points)}"
        self.store.points.setdefault(self.key, {})
        return NOTHING if resumed.key is None else resumed.given

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._call("scalars")
        for name, value in values.items():
            self.store.points[self.key].setdefault(name, []).append((step, value))

    def sync(self) -> None:
        self._call("sync")

    def finish(self, status: Status, result: Result | None) -> None:
        self._call("finish")
        if result is not None:
            self.scalars(result.step, result.scores)
        self.store.ends.append((status, None if result is None else result.model))
