"""The written record of a run: `history.jsonl`, from which trackers get their numbers."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

from manyheads.training.trackers.base import NOTHING, Mark
from manyheads.training.trackers.scalars import scalars_of
from manyheads.training.written import written

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics
    from manyheads.training.step_record import StepRecord
    from manyheads.training.trackers.several import Trackers

HISTORY = "history.jsonl"
DAMAGED = (LookupError, TypeError, ValueError, AttributeError)
"""Errors of reading a row that is not as it was written."""


class RunLog:
    """Writes into the output folder during a run, and passes what it has written on to the trackers."""

    def __init__(self, folder: Path, trackers: Trackers | None = None, *, step: int = 0, keep_bytes: int = 0) -> None:
        """Create the folder. A run resumed at `step` keeps the first `keep_bytes` of the history and drops the rest.

        All methods that write raise TrainingError when they cannot.
        """
        self.folder = folder
        self.losses: dict[str, list[float]] = defaultdict(list)
        """Losses of the steps so far, by task."""
        self._trackers = trackers
        path = folder / HISTORY
        with written(path), ExitStack() as opened:
            folder.mkdir(parents=True, exist_ok=True)
            self.whole = (path.stat().st_size if path.exists() else 0) >= keep_bytes
            """Whether all of the history to keep was there."""
            self._history = opened.enter_context(path.open("r+b" if path.exists() else "w+b"))
            if trackers is not None:
                trackers.begin(step, _last_mark(self._history))
            self._history.truncate(keep_bytes if self.whole else 0)
            for row in _rows(self._history):
                with suppress(*DAMAGED):
                    self._remember(row)
                    if trackers is not None:
                        trackers.row(row, live=False)
            opened.pop_all()

    @property
    def size(self) -> int:
        """Bytes of the history so far."""
        return self._history.tell()

    def sync(self) -> None:
        """Sync everything written so far to the disk."""
        if self._trackers is not None:
            self._trackers.sync()
        with written(self.folder / HISTORY):
            os.fsync(self._history.fileno())

    def step(self, record: StepRecord) -> None:
        """One training step."""
        skipped = record.skip.to_json() if record.skip is not None else {}
        pulls = {"pull": dict(record.pulls)} if record.pulls else {}
        self.event({"step": record.step, "loss": dict(record.losses), "weight": dict(record.weights),
                    "tokens": dict(record.tokens), "rate": record.rate, "gradient_norm": record.gradient_norm,
                    "packs": record.packs, "phase": record.phase, **pulls, **skipped})  # fmt: skip

    def scores(
        self, step: int, metrics: Mapping[str, Metrics], main_scores: Mapping[str, float], combined: float, *, kept: bool
    ) -> None:
        """One evaluation on validation data. `kept`: whether it is the chosen one, until a later one is."""
        self.event({"step": step, "validation": metrics, "headline": dict(main_scores), "combined": combined, "kept": kept})

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # a failed write was reported, and fails again here
            self._history.close()

    def event(self, row: Mapping[str, Any]) -> None:
        """Write a row of the history."""
        with written(self.folder / HISTORY):
            self._history.write(json.dumps(row).encode() + b"\n")
            self._history.flush()
        self._remember(row)
        if self._trackers is not None:
            self._trackers.row(row)

    def _remember(self, row: Mapping[str, Any]) -> None:
        for name, loss in row.get("loss", {}).items():
            self.losses[name].append(loss)


def _rows(history: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The rows from the start. A damaged line is left out: the running means have one loss less."""
    history.seek(0)
    for line in history:
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row


def _last_mark(history: IO[bytes]) -> Mark:
    """The last step or evaluation in a history."""
    last = NOTHING
    for row in _rows(history):
        with suppress(*DAMAGED):
            found = scalars_of(row)
            last = found[0] if found is not None else last
    return last


class Unlogged:
    """Writes nothing, in processes other than the first."""

    whole = True
    size = 0
    losses: Mapping[str, list[float]] = MappingProxyType({})

    def step(self, record: StepRecord) -> None:
        """Nothing."""

    def scores(
        self, step: int, metrics: Mapping[str, Metrics], main_scores: Mapping[str, float], combined: float, *, kept: bool
    ) -> None:
        """Nothing."""

    def event(self, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
