"""TensorBoard events in the output folder. A disk that cannot be written ends the run, as it does for the history."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from manyheads.training.trackers.base import Mark, Result, Resumed, RunFacts, Status
from manyheads.training.written import written

EVENTS = "tensorboard"


class TensorBoard:
    """Event files under `tensorboard/`. The model folder is beside them, so they hold no more than numbers."""

    key = None

    def start(self, facts: RunFacts, resumed: Resumed) -> Mark:
        """Open a new event file. TensorBoard drops the events of earlier files from this step on."""
        from torch.utils.tensorboard import SummaryWriter

        self._folder = facts.output / EVENTS
        with written(self._folder):
            self._events = SummaryWriter(str(self._folder), purge_step=resumed.step)
        return (resumed.step - 1, 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Raises TrainingError when they cannot be written."""
        with written(self._folder):
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def sync(self) -> None:
        """Raises TrainingError when the events cannot be written."""
        with written(self._folder):
            self._events.flush()

    def finish(self, status: Status, result: Result | None) -> None:
        """Write the final scores, and close the file."""
        if result is not None:
            self.scalars(result.step, result.scores)
        with suppress(OSError):  # a failed write was reported, and fails again here
            self._events.close()
