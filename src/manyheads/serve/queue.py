"""Rows that wait for a pass, whatever they ask and whoever sent them.

Decided here: rows, not requests, are what is queued, and every row has a time at which it is due: the first of a request
when it arrives, each of the others as much later as those before it take to answer. What is due first goes first. So
a request of one row does not wait for all of a request of 1,000; and nothing waits for ever, for what comes later is due
later. With the row that is due first go others, in their order, that still fit into the pass.

What cannot be answered in time, or whose client has gone, is dropped before it costs anything. What would only add to
work that is overdue is refused at once.
"""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from manyheads.serve.limits import Limits

ATTEMPTS = 3
"""Times that a row may be in a worker that dies; from the second on it goes alone, so that no other dies with it."""
LEAST_TOKENS = 256
"""Of a full pass, however slow the worker: with fewer the price of a pass itself begins to show."""
FIRST_RATE = 2_000.0
"""Tokens a second of a worker, until passes have been timed: a small encoder on one core has some 5,000."""


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
    gone: bool = False
    """Set when the client has left."""
    attempts: int = 0
    due: float = 0.0
    arrived: float = field(default_factory=time.monotonic)
    started: float = 0.0


class FullError(Exception):
    """The queue takes no more; `retry_after_s` says when it may."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


class Queue:
    """Waiting units. Any thread may put, any may take."""

    def __init__(self, limits: Limits, workers: int) -> None:
        """`workers` take from it."""
        self.limits = limits
        self.workers = workers
        self.tokens = 0
        self.rate = FIRST_RATE * workers
        """Tokens a second, of all workers."""
        self._units: list[Unit] = []
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        """Units that wait."""
        return len(self._units)

    def put(self, units: Sequence[Unit]) -> None:
        """All of these, or none. Raises FullError. When nothing else waits, more is taken than the queue holds."""
        tokens = sum(unit.tokens for unit in units)
        with self._changed:
            wait_s = self._wait_s(tokens)
            if wait_s > 0:
                raise FullError(max(1.0, wait_s))
            due = time.monotonic()
            for unit in units:
                unit.due = due
                due += unit.tokens / self.rate
                insort(self._units, unit, key=_due)
            self.tokens += tokens
            self._changed.notify_all()

    def full_s(self) -> float:
        """Seconds after which something may be put again; 0: now."""
        with self._changed:
            wait_s = self._wait_s(0)
            return max(1.0, wait_s) if wait_s > 0 else 0.0

    def put_back(self, units: Sequence[Unit]) -> None:
        """Units whose worker has died, to be taken at once. One that has been in too many gets its fate."""
        settled: list[tuple[Unit, Fate]] = []
        with self._changed:
            for unit in units:
                if unit.attempts >= ATTEMPTS:
                    settled.append((unit, Fate.DEADLY))
                elif self._closed:
                    settled.append((unit, Fate.LATE))
                else:
                    insort(self._units, unit, key=_due)
                    self.tokens += unit.tokens
            self._changed.notify_all()
        _settle(settled)

    def take(self, timeout_s: float, *, long: bool = True) -> list[Unit]:
        """The units of the next pass; none when there are none after a while. `long`: also those longer than a pass.

        Those that are late or gone are dropped on the way.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            while True:
                dropped = self._drop()
                first = self._first(long)
                if first is not None or dropped or self._closed:
                    break
                if not self._changed.wait(until - time.monotonic()):
                    return []
            if first is not None and self._company(first):
                first = self._first(long)  # others may have taken it, or its client left
            chosen = self._chosen(first) if first is not None else []
            self._remove(chosen)
        _settle(dropped)
        return chosen

    def expire(self) -> None:
        """Drop what is late or gone; for when nobody takes."""
        with self._changed:
            dropped = self._drop()
        _settle(dropped)

    def ran(self, tokens: int, seconds: float) -> None:
        """Note how long a pass of one worker took. Passes that are less than half full say little of what it can do."""
        if 2 * tokens >= self.pass_tokens():
            self.rate += 0.1 * (self.workers * tokens / max(seconds, 1e-3) - self.rate)

    def pass_tokens(self) -> int:
        """Tokens of a full pass: as many as a worker reads in `pass_s`, within bounds."""
        return min(self.limits.batch_tokens, max(LEAST_TOKENS, int(self.rate / self.workers * self.limits.pass_s)))

    def expected_s(self, tokens: int) -> float:
        """How long one worker should take over so many tokens."""
        return self.workers * tokens / self.rate

    def close(self) -> None:
        """Take no more, and let go of what waits."""
        with self._changed:
            self._closed = True
            left = [(unit, Fate.LATE) for unit in self._units]
            self._remove(self._units)
            self._changed.notify_all()
        _settle(left)

    def _wait_s(self, tokens: int) -> float:
        """Seconds until so many tokens can be put; 0 or less: now."""
        if self._closed:
            return 1.0
        if not self._units:
            return 0.0
        most = min(self.limits.queue_tokens, self.rate * self.limits.deadline_s)
        over = self.tokens + max(tokens, 1) - most
        if over > 0:
            return over / self.rate
        now, overdue, allowed = time.monotonic(), 0, self.rate * self.limits.patience_s
        for unit in self._units:
            if unit.due > now or overdue > allowed:
                break
            overdue += unit.tokens
        return (overdue - allowed) / self.rate

    def _first(self, long: bool) -> Unit | None:
        return next((unit for unit in self._units if long or unit.tokens <= self.limits.batch_tokens), None)

    def _company(self, first: Unit) -> bool:
        """Wait for more, at most `wait_s` from the arrival of the first; whether there was any waiting."""
        until = first.arrived + self.limits.wait_s
        waited = False
        while self.tokens < self.pass_tokens() and not first.attempts and not self._closed:
            left = until - time.monotonic()
            if left <= 0:
                break
            waited = True
            self._changed.wait(left)
        return waited

    def _chosen(self, first: Unit) -> list[Unit]:
        chosen, room = [first], self.pass_tokens() - first.tokens
        if first.attempts:
            return chosen
        for unit in self._units:
            if room < 1:
                break
            if unit is not first and unit.tokens <= room and not unit.attempts:
                chosen.append(unit)
                room -= unit.tokens
        return chosen

    def _drop(self) -> list[tuple[Unit, Fate]]:
        now = time.monotonic()
        dropped = [
            (unit, Fate.GONE if unit.gone else Fate.LATE) for unit in self._units if unit.gone or unit.deadline < now
        ]
        self._remove([unit for unit, _ in dropped])
        return dropped

    def _remove(self, units: Sequence[Unit]) -> None:
        if units:
            gone = set(map(id, units))
            self.tokens -= sum(unit.tokens for unit in units)
            self._units = [unit for unit in self._units if id(unit) not in gone]


def _due(unit: Unit) -> float:
    return unit.due


def _settle(fates: Sequence[tuple[Unit, Fate]]) -> None:
    """Outside the lock: whoever is told may come back."""
    for unit, fate in fates:
        unit.done(fate)
