"""Rows that wait for a pass, whatever they ask and whoever sent them.

The oldest row always goes first; with it go those after it, in their order, that still fit into the pass. So a row that
is too long to go with others waits until it is the oldest, and no longer; and short rows do not wait behind long ones.

Decided here: rows, not requests, are what is queued. A request of 1,000 rows and one of 1 share passes, and the second does
not wait for all of the first. What cannot be answered in time, or whose client has gone, is dropped before it costs anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

ATTEMPTS = 3
"""Times that a row may be in a worker that dies; from the second on it goes alone, so that no other dies with it."""


class Fate(Enum):
    """What became of a row that has no answer."""

    LATE = "the deadline passed before it was answered"
    GONE = "the client has gone"
    DEADLY = "the worker ended while it answered this row, three times"


@dataclass(slots=True, eq=False)
class Unit:
    """A row on its way. `done` is called once, from any thread, with its answer or its fate."""

    row: Mapping[str, Any]
    names: Sequence[str]
    tokens: int
    """Estimated."""
    deadline: float
    """By time.monotonic()."""
    done: Callable[[dict[str, Any] | Fate], None]
    attempts: int = 0
    gone: bool = False
    """Set when the client has left."""
    arrived: float = field(default_factory=time.monotonic)
    started: float = 0.0


class FullError(Exception):
    """The queue takes no more; `retry_after_s` says when it may."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


class Queue:
    """Waiting units. Any thread may put, any may take."""

    def __init__(self, *, batch_tokens: int, most_tokens: int, wait_s: float) -> None:
        """`batch_tokens` a pass, `most_tokens` waiting; a pass that is not full waits `wait_s` for company."""
        self.batch_tokens = batch_tokens
        self.most_tokens = most_tokens
        self.wait_s = wait_s
        self.tokens = 0
        self._units: list[Unit] = []
        self._changed = threading.Condition()
        self._closed = False
        self._rate = 2_000.0

    def __len__(self) -> int:
        """Units that wait."""
        return len(self._units)

    def put(self, units: Sequence[Unit]) -> None:
        """All of these, or none. Raises FullError. What is larger than the whole queue is taken when nothing else waits."""
        tokens = sum(unit.tokens for unit in units)
        with self._changed:
            if self._closed or (self.tokens and self.tokens + tokens > self.most_tokens):
                raise FullError(max(1.0, (self.tokens + tokens - self.most_tokens) / self._rate))
            self._units.extend(units)
            self.tokens += tokens
            self._changed.notify_all()

    def put_back(self, units: Sequence[Unit]) -> None:
        """Units whose worker has died, before all others. One that has been in too many gets its fate."""
        deadly = [unit for unit in units if unit.attempts >= ATTEMPTS and len(units) == 1]
        with self._changed:
            again = [unit for unit in units if unit not in deadly]
            self._units[:0] = again
            self.tokens += sum(unit.tokens for unit in again)
            self._changed.notify_all()
        for unit in deadly:
            unit.done(Fate.DEADLY)

    def take(self, timeout_s: float, *, long: bool = True) -> list[Unit]:
        """The units of the next pass; none when there are none after a while. `long`: also those longer than a pass.

        Those that are late or gone are dropped on the way.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            while True:
                dropped = self._drop()
                first = next((unit for unit in self._units if long or unit.tokens <= self.batch_tokens), None)
                if first is not None or dropped or self._closed:
                    break
                if not self._changed.wait(until - time.monotonic()):
                    return []
            if first is not None:
                self._wait_for_company(first)
                chosen = self._chosen(first) if first in self._units else []
                taken = set(map(id, chosen))
                self._units = [unit for unit in self._units if id(unit) not in taken]
                self.tokens -= sum(unit.tokens for unit in chosen)
            else:
                chosen = []
        for unit, fate in dropped:
            unit.done(fate)
        return chosen

    def ran(self, tokens: int, seconds: float) -> None:
        """Note how fast a pass was, for `retry_after_s`."""
        self._rate = 0.9 * self._rate + 0.1 * tokens / max(seconds, 1e-3)

    def close(self) -> list[Unit]:
        """Take no more, and let go of what waits."""
        with self._changed:
            self._closed = True
            left, self._units, self.tokens = self._units, [], 0
            self._changed.notify_all()
        return left

    def _wait_for_company(self, first: Unit) -> None:
        """At most `wait_s` from the arrival of the first, and not when the pass is full without it."""
        until = first.arrived + self.wait_s
        while sum(unit.tokens for unit in self._units) < self.batch_tokens and not first.attempts:
            left = until - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                return

    def _chosen(self, first: Unit) -> list[Unit]:
        if first.attempts:
            return [first]
        chosen, room = [first], self.batch_tokens - first.tokens
        for unit in self._units:
            if unit is not first and unit.tokens <= room and not unit.attempts:
                chosen.append(unit)
                room -= unit.tokens
        return chosen

    def _drop(self) -> list[tuple[Unit, Fate]]:
        now = time.monotonic()
        out = [
            (unit, Fate.GONE if unit.gone else Fate.LATE) for unit in self._units if unit.gone or unit.deadline < now
        ]
        if out:
            gone = {id(unit) for unit, _ in out}
            self._units = [unit for unit in self._units if id(unit) not in gone]
            self.tokens -= sum(unit.tokens for unit, _ in out)
        return out
