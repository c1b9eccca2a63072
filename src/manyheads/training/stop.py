"""Stopping a run: SIGTERM and SIGINT let the step end and the run save; a second signal ends the process at once."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any

from manyheads.errors import RESUME, StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether the run has been asked to stop. This class listens to no signals."""

    def __init__(self) -> None:
        self.asked: str | None = None
        """The name of the signal that asked."""
        self.patient = False
        """Whether the run checks `asked` itself; until then there is nothing to save, and a signal raises StoppedError."""

    def check(self) -> None:
        """Raise StoppedError if asked; called where the run has just been saved."""
        if self.asked:
            raise StoppedError(f"stopped by {self.asked}; the training is saved", hint=RESUME)


class StopSignals(Stop):
    """Listens to signals inside a `with` block, in the main thread only."""

    def __init__(self, together_s: float = 0.0) -> None:
        """`together_s`: signals within so many seconds of the first count as the same one."""
        super().__init__()
        self._together_s = together_s
        self._first = 0.0
        self._raised: StoppedError | None = None

    def __enter__(self) -> StopSignals:
        self._before: dict[int, Any] = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise StoppedError again where a library, or our own code around it, took it for a failure of its own."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._raised is not None and isinstance(error, Exception) and not isinstance(error, StoppedError):
            raise self._raised from None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked is not None:
            if now - self._first < self._together_s:
                return
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.asked, self._first = signal.Signals(number).name, now
        if not self.patient:
            self._raised = StoppedError(f"stopped by {self.asked} before the first step: nothing is lost, start it again")
            raise self._raised
