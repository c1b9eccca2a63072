"""The trackers of a run. None can change the run; one that fails is left out from then on, with one warning.

Decided here:
- Trackers are given rows of the history once those are written. A resumed run reads the history that it keeps to each tracker
  from where the tracker's own record ends: no step is recorded twice, and what a tracker missed is made up for.
- The trackers' names of the run lie beside the checkpoints, and go with them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.durable import replace_file
from manyheads.errors import ManyheadsError, StoppedError, first_line
from manyheads.training.trackers import TRACKERS
from manyheads.training.trackers.base import NOTHING, Mark, Result, Resumed, RunFacts, Status, Tracker
from manyheads.training.trackers.scalars import scalars_of

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = "trackers.json"


class Trackers:
    """The trackers of a run, until they fail."""

    def __init__(
        self, names: Sequence[str], facts: RunFacts, say: Callable[[str], None], keys: Path, *, resume: bool = False
    ) -> None:
        """`keys`: the file with the trackers' names of the run, which are used again if it is resumed."""
        self._names, self._facts, self._say, self._keys = names, facts, say, keys
        self._resume = resume
        self._live: dict[str, Tracker] = {}
        self._held: dict[str, Mark] = {}
        self.result: Result | None = None
        """Set once the run is finished."""
        self._last_step_s: float | None = None

    def begin(self, step: int, given: Mark) -> None:
        """Start all. `step`: steps done; `given`: the last that trackers were given before the run was interrupted."""
        known = self._known_keys() if self._resume else {}
        for name in self._names:
            tracker, resumed = TRACKERS[name].make(), Resumed(step, known.get(name), given)
            with self._surviving(name, "does not record this run", "training goes on without it"):
                self._held[name] = tracker.start(self._facts, resumed)
                self._live[name] = tracker
        keys = {name: tracker.key for name, tracker in self._live.items() if tracker.key is not None}
        if keys:
            with suppress(OSError):  # the first checkpoint, in the same folder, says so
                self._keys.parent.mkdir(parents=True, exist_ok=True)
                replace_file(self._keys, json.dumps(keys) + "\n")

    def row(self, row: Mapping[str, Any], *, live: bool = True) -> None:
        """A row of the history; with `live` it has just been written."""
        if live and "turned_back_to" in row:  # steps are made again, and may differ
            self._held = dict.fromkeys(self._held, NOTHING)
        found = scalars_of(row) if self._live else None
        if found is None:
            self._last_step_s = None
            return
        mark, values = found
        values |= self._speed(mark, values) if live else {}
        for name, tracker in list(self._live.items()):
            if mark > self._held[name]:
                with self._surviving(name):
                    tracker.scalars(mark[0], values)

    def _speed(self, mark: Mark, values: Mapping[str, float]) -> dict[str, float]:
        """Tokens per second since the step before; nothing where there was an evaluation in between."""
        now = time.monotonic() if mark[1] else None
        before, self._last_step_s = self._last_step_s, now
        return {} if now is None or before is None else {"tokens_per_second": values["tokens"] / max(now - before, 1e-9)}

    def sync(self) -> None:
        """Pass on what is buffered."""
        self._all(lambda tracker: tracker.sync())

    def finish(self, status: Status) -> None:
        """End all recordings."""
        self._all(lambda tracker: tracker.finish(status, self.result))
        self._live.clear()

    def _all(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._live.items()):
            with self._surviving(name):
                act(tracker)

    @contextmanager
    def _surviving(
        self, name: str, failed: str = "records no more of this run", then: str = "training is not affected"
    ) -> Iterator[None]:
        """Whatever a tracker raises ends its recording only."""
        try:
            yield
        except ManyheadsError:
            raise
        except Exception as error:
            self._live.pop(name, None)
            what = first_line(error)
            self._say(f"warning: {TRACKERS[name].title} {failed} ({what}); {then}")

    def _known_keys(self) -> dict[str, str]:
        try:
            found = json.loads(self._keys.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {name: key for name, key in found.items() if isinstance(key, str)} if isinstance(found, dict) else {}


@contextmanager
def finishing(trackers: Trackers) -> Iterator[Trackers]:
    """Ends the recordings when the run ends, with how it ended."""
    status: Status = "failed"
    try:
        yield trackers
        status = "finished"
    except StoppedError:
        status = "stopped"
        raise
    finally:
        trackers.finish(status)
