"""The written record of a run: `history.jsonl` and TensorBoard events."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from manyheads.errors import RESUME, TrainingError

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics
    from manyheads.training.step_record import StepRecord

HISTORY = "history.jsonl"
EVENTS = "tensorboard"


class RunLog:
    """Writes into the output folder during a run."""

    def __init__(self, folder: Path, *, step: int = 0, keep_bytes: int = 0) -> None:
        """Create the folder. A run resumed at `step` keeps the first `keep_bytes` of the history and drops the rest.

        All methods that write raise TrainingError when they cannot.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder
        self.losses: dict[str, list[float]] = defaultdict(list)
        """Losses of the steps so far, by task."""
        path = folder / HISTORY
        with _written(path), ExitStack() as opened:
            folder.mkdir(parents=True, exist_ok=True)
            self.whole = (path.stat().st_size if path.exists() else 0) >= keep_bytes
            """Whether all of the history to keep was there."""
            self._history = opened.enter_context(path.open("r+b" if path.exists() else "w+b"))
            self._history.truncate(keep_bytes if self.whole else 0)
            for line in self._history:
                with suppress(ValueError, TypeError, AttributeError):  # a damaged line: one loss less in the running mean
                    self._remember(json.loads(line))
            with _written(folder / EVENTS):
                self._events = SummaryWriter(str(folder / EVENTS), purge_step=step)
            opened.pop_all()

    @property
    def size(self) -> int:
        """Bytes of the history so far."""
        return self._history.tell()

    def sync(self) -> None:
        """Sync everything written so far to the disk."""
        with _written(self.folder / EVENTS):
            self._events.flush()
        with _written(self.folder / HISTORY):
            os.fsync(self._history.fileno())

    def step(self, record: StepRecord) -> None:
        """One training step."""
        skipped = record.skip.to_json() if record.skip is not None else {}
        pulls = {"pull": dict(record.pulls)} if record.pulls else {}
        self.event({"step": record.step, "loss": dict(record.losses), "weight": dict(record.weights),
                    "tokens": dict(record.tokens), "rate": record.rate, "gradient_norm": record.gradient_norm,
                    "packs": record.packs, "phase": record.phase, **pulls, **skipped})  # fmt: skip
        with _written(self.folder / EVENTS):
            for name, loss in record.losses.items():
                self._events.add_scalar(f"loss/{name}", loss, record.step)
            for name, weight in record.weights.items():
                self._events.add_scalar(f"weight/{name}", weight, record.step)
            for name, pull in record.pulls.items():
                self._events.add_scalar(f"pull/{name}", pull, record.step)
            self._events.add_scalar("rate", record.rate, record.step)
            self._events.add_scalar("gradient_norm", record.gradient_norm, record.step)

    def scores(
        self, step: int, metrics: Mapping[str, Metrics], main_scores: Mapping[str, float], combined: float
    ) -> None:
        """One evaluation on validation data."""
        self.event({"step": step, "validation": metrics, "headline": dict(main_scores), "combined": combined})
        with _written(self.folder / EVENTS):
            for name, values in metrics.items():
                for metric, value in values.items():
                    self._events.add_scalar(f"validation/{name}/{metric}", value, step)
            self._events.add_scalar("validation/combined", combined, step)

    def close(self) -> None:
        """Close the files."""
        for file in (self._history, self._events):
            with suppress(OSError):  # a failed write was reported, and fails again here
                file.close()

    def event(self, row: Mapping[str, Any]) -> None:
        """Write a row of the history."""
        with _written(self.folder / HISTORY):
            self._history.write(json.dumps(row).encode() + b"\n")
            self._history.flush()
        self._remember(row)

    def _remember(self, row: Mapping[str, Any]) -> None:
        for name, loss in row.get("loss", {}).items():
            self.losses[name].append(loss)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Convert an OSError to a TrainingError."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written ({error.strerror or error})", hint=f"fix that, then {RESUME}"
        ) from None


class Unlogged:
    """Writes nothing, in processes other than the first."""

    whole = True
    size = 0
    losses: Mapping[str, list[float]] = MappingProxyType({})

    def step(self, record: StepRecord) -> None:
        """Nothing."""

    def scores(
        self, step: int, metrics: Mapping[str, Metrics], main_scores: Mapping[str, float], combined: float
    ) -> None:
        """Nothing."""

    def event(self, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
