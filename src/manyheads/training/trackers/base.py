"""The protocol of an experiment tracker, and what it is told about a run.

A tracker gets numbers that were already written to the run's own history, and cannot change the run: it returns nothing but
how far it has come.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Mark = tuple[int, int]
"""A step, and whether it is the evaluation before the step (0) or the step itself (1); later ones compare greater."""
NOTHING: Mark = (-1, 0)
"""Before everything that a run records."""
PROJECT = "manyheads"
"""Project or experiment, unless the tracker's own environment variables name one."""
Status = Literal["finished", "stopped", "failed"]
"""stopped: by a signal, with everything saved, so the run can be resumed."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """How a run is to be tracked."""

    names: tuple[str, ...] = ()
    """The trackers."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """All settings of the run, nested; with defaults, and what the recipe chose."""
    name: str | None = None
    """Name of the run; None: that of its output folder."""
    group: str | None = None
    """Name of what the run is one of many in, such as a comparison. Such a run logs no model."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a tracker is told of a run before its first step."""

    output: Path
    """The output folder."""
    name: str
    group: str | None
    run_file: str
    """As the model folder will hold it: as YAML, with overrides applied and without defaults."""
    settings: Mapping[str, Any]
    """All settings by dotted key: `training.learning_rate`."""
    facts: Mapping[str, str]
    """Hashes of data and weights, versions of packages, and the device."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where a run continues."""

    step: int
    """Steps done."""
    key: str | None = None
    """The tracker's own name of the run; None if it must begin a new one."""
    given: Mark = NOTHING
    """What the tracker was given so far, which it may not have kept."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run leaves."""

    step: int
    """The step that the weights come from."""
    scores: Mapping[str, float]
    """Final scores: `final/SPLIT/TASK/METRIC`."""
    model: Path | None
    """The model folder; None if trackers are to keep none."""


class Tracker(Protocol):
    """Records one run somewhere. Whatever it raises, besides errors of manyheads, ends the recording and not the run."""

    @property
    def key(self) -> str | None:
        """What `start` needs to continue this run; None if nothing, or if it cannot be continued."""

    def start(self, facts: RunFacts, resumed: Resumed) -> Mark:
        """Begin a run, or continue it; returns the last of what is already recorded there."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers."""

    def sync(self) -> None:
        """Pass on what is buffered: a checkpoint is about to be written."""

    def finish(self, status: Status, result: Result | None) -> None:
        """Record the result of a finished run, and end the recording."""


@contextmanager
def notes_to_stderr() -> Iterator[None]:
    """What a tracker prints goes to stderr: standard output is for the scores."""
    with redirect_stdout(sys.stderr):
        yield


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key; lists and empty mappings stay whole.

    >>> flat({"training": {"steps": 6, "select": {}}, "output": "runs/a"})
    {'training.steps': 6, 'training.select': {}, 'output': 'runs/a'}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found
