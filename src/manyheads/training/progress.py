"""What the user sees during a run: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from manyheads.training.step_record import EvaluationRecord, StepRecord

LINE_EVERY_S = 10.0
"""Seconds between plain lines."""
MEMORY = 0.95
"""Weight of the past in the running means of losses shown."""


class Progress(Protocol):
    """Shows a run, or several runs one after the other."""

    def begin(self, losses: Mapping[str, Sequence[float]]) -> None:
        """A run begins. `losses`: of earlier steps, by task, in a resumed run."""

    def say(self, line: str) -> None:
        """Show a line."""

    def step(self, record: StepRecord, steps: int) -> None:
        """One step of `steps` is done."""

    def evaluated(self, record: EvaluationRecord) -> None:
        """The model was evaluated on validation data."""

    def close(self) -> None:
        """The run is over."""


class Quiet:
    """Shows nothing."""

    def begin(self, losses: Mapping[str, Sequence[float]]) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def step(self, record: StepRecord, steps: int) -> None:
        """Nothing."""

    def evaluated(self, record: EvaluationRecord) -> None:
        """The scores, as a line."""
        self.say(record.line())

    def close(self) -> None:
        """Nothing."""


class WarningsOnly:
    """One run of many: its steps and warnings, without the lines that every run prints."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def begin(self, losses: Mapping[str, Sequence[float]]) -> None:
        """Passed on."""
        self.progress.begin(losses)

    def say(self, line: str) -> None:
        """Passed on if it is a warning, or tells of a skipped step."""
        if line.startswith("warning") or "skip" in line:
            self.progress.say(line)

    def step(self, record: StepRecord, steps: int) -> None:
        """Passed on."""
        self.progress.step(record, steps)

    def evaluated(self, record: EvaluationRecord) -> None:
        """Nothing."""

    def close(self) -> None:
        """Passed on."""
        self.progress.close()


class Console:
    """A bar with each task's running loss on a terminal; a line every ten seconds otherwise."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream` (stderr in the commands)."""
        from tqdm import tqdm

        self._stream = stream
        self._terminal = stream.isatty()
        self._tqdm: Any = tqdm
        self._bar: Any = None
        self._mean: dict[str, float] = {}
        self._warned: set[str] = set()
        self._tokens = 0
        self._started = self._last = time.monotonic()

    def begin(self, losses: Mapping[str, Sequence[float]]) -> None:
        """Start again; a resumed run has the running means it was stopped with."""
        self._mean = {}
        for name, found in losses.items():
            for loss in found:
                self._note(name, loss)
        self._tokens = 0
        self._started = self._last = time.monotonic()

    def say(self, line: str) -> None:
        """A line above the bar; a warning only once, however many trainings of a command repeat it."""
        if line.startswith("warning: "):
            if line in self._warned:
                return
            self._warned.add(line)
        self._tqdm.write(line, file=self._stream)
        self._stream.flush()

    def step(self, record: StepRecord, steps: int) -> None:
        """Move the bar, or print a line when the last one is ten seconds old."""
        for name, loss in record.losses.items():
            self._note(name, loss)
        self._tokens += sum(record.tokens.values())
        now = time.monotonic()
        if self._terminal:
            if self._bar is None:
                self._bar = self._tqdm(
                    total=steps, initial=record.step, file=self._stream, unit="step", dynamic_ncols=True, leave=False
                )
                self._started = now
            self._bar.set_postfix_str(_losses(self._mean), refresh=False)
            self._bar.n = record.step  # a guard may have rolled the run back
            self._bar.update(1)
        elif now - self._last >= LINE_EVERY_S or record.step + 1 == steps:
            rate = self._tokens / max(now - self._started, 1e-9)
            self.say(f"step {record.step + 1}/{steps}  loss {_losses(self._mean)}  {rate:,.0f} tokens/s")
            self._last = now

    def evaluated(self, record: EvaluationRecord) -> None:
        """A line with the scores."""
        self.say(record.line())

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _note(self, name: str, loss: float) -> None:
        self._mean[name] = MEMORY * self._mean.get(name, loss) + (1 - MEMORY) * loss


class Notebook(Console):
    """A bar as a widget, with lines of text below it."""

    def __init__(self, stream: TextIO) -> None:
        """Needs ipywidgets."""
        from tqdm.notebook import tqdm

        super().__init__(stream)
        self._terminal, self._tqdm = True, tqdm


class WithCallbacks:
    """Calls functions with the records of steps and evaluations, and passes everything on.

    `progress` is the same without the calls.
    """

    def __init__(self, progress: Progress, callbacks: Sequence[Callable[[StepRecord | EvaluationRecord], object]]) -> None:
        self.progress, self._callbacks = progress, tuple(callbacks)
        self.begin, self.say, self.close = progress.begin, progress.say, progress.close

    def step(self, record: StepRecord, steps: int) -> None:
        """Pass a step on, and call the functions."""
        self.progress.step(record, steps)
        self._call(record)

    def evaluated(self, record: EvaluationRecord) -> None:
        """Pass an evaluation on, and call the functions."""
        self.progress.evaluated(record)
        self._call(record)

    def _call(self, record: StepRecord | EvaluationRecord) -> None:
        for callback in self._callbacks:
            callback(record)


def _losses(mean: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {loss:.3f}" for name, loss in mean.items())
