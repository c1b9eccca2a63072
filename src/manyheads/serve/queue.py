"""The queue of a server: what it takes, what it refuses at once, and the passes it hands to workers.

Decided here: a request is taken only if it can be answered by its deadline at the measured rate, together with all that was
taken before it. One that could not be answered in time even by an idle server, or only by shutting others out, is too large,
now and later; one for which there is no room now may come again. Large requests get at most half of what can be answered
before a deadline, so small ones always find room. `turns.py` says who goes first.

A burst of small requests is taken as long as all of them can be answered in time. Once one could not, it is an overload:
until the queue is short again only so much is taken that the wait stays within `Limits.patience_s`, since what is refused
at once can be asked of another server.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from manyheads.serve.limits import Limits
from manyheads.serve.turns import QUANTUM, Fate, Turns, Unit

ATTEMPTS = 3
"""Times that a row may be in a worker that dies; from the second on it goes alone, so that no other dies with it."""
LEAST_TOKENS = 256
"""Of a full pass, however slow the worker: with fewer the price of a pass itself begins to show."""
FIRST_RATE = 2_000.0
"""Tokens a second of a worker that has not been measured."""
BEGIN_S = 5.0
"""Until a worker may have been."""
IN_TIME = 0.8
"""Of the time until a deadline, and of the measured rate within it, what is promised: cores are lent to others at times."""
SHARE = 0.5
"""Of what can be answered in time, what large requests may have."""
SHORT = 0.5
"""Of the patience: a queue that waits no longer is short."""


class FullError(Exception):
    """The queue takes no more; `retry_after_s` says when it may."""

    def __init__(self, retry_after_s: float, why: str = "too much waits already") -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class TooLargeError(Exception):
    """A request that will not be taken, however often it comes. Its text says why, without the texts of its rows."""


class Queue:
    """Waiting units. Any thread may put, any may take."""

    def __init__(self, limits: Limits, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`workers` take from it."""
        self.limits = limits
        self.workers = workers
        self.rate = FIRST_RATE * workers
        """Tokens a second, of all workers."""
        self._clock = clock
        self._turns = Turns()
        self._again: deque[Unit] = deque()
        """Whose worker has died: they go first, each alone."""
        self._again_tokens = 0
        self._changed = threading.Condition()
        self._closed = False
        self._trials = 0
        self._overloaded = False

    def __len__(self) -> int:
        """Units that wait."""
        with self._changed:
            return len(self._turns) + len(self._again)

    @property
    def tokens(self) -> int:
        """Of all units that wait."""
        return self._turns.tokens + self._again_tokens

    def put(self, units: Sequence[Unit]) -> None:
        """The rows of one request: all of them, or none. Raises TooLargeError, FullError."""
        tokens = sum(unit.tokens for unit in units)
        with self._changed:
            self._check_size(units, tokens)
            wait_s = self._wait_s(tokens)
            if wait_s > 0:
                raise FullError(max(1.0, wait_s))
            now, through = self._clock(), 0
            for unit in units:
                through += unit.tokens
                unit.arrived = now
                unit.latest = now + IN_TIME * (unit.deadline - now) * through / tokens - self.expected_s(unit.tokens)
            self._turns.add(units, self.limits.batch_tokens)
            self._changed.notify_all()

    def full_s(self) -> float:
        """Seconds after which something may be put again; 0: now."""
        with self._changed:
            wait_s = self._wait_s(1)
            return max(1.0, wait_s) if wait_s > 0 else 0.0

    def most_tokens(self) -> int:
        """Of one request."""
        return max(QUANTUM, int(SHARE * self._room()))

    def put_back(self, units: Sequence[Unit]) -> None:
        """Units whose worker has died, to be taken at once. One that has been in too many gets its fate."""
        settled: list[tuple[Unit, Fate]] = []
        with self._changed:
            for unit in units:
                if unit.gone:
                    settled.append((unit, Fate.GONE))
                elif unit.attempts >= ATTEMPTS:
                    settled.append((unit, Fate.DEADLY))
                elif self._closed:
                    settled.append((unit, Fate.LATE))
                else:
                    self._again.append(unit)
                    self._again_tokens += unit.tokens
            self._changed.notify_all()
        _settle(settled)

    def take(self, timeout_s: float, *, long: bool = True) -> list[Unit]:
        """The units of the next pass; none when there are none after a while. `long`: also those longer than a pass.

        Those that are late are dropped on the way.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            while True:
                late = self._late()
                if late or self._closed or self._first_again(long) or self._turns.first(long=long):
                    break
                if not self._changed.wait(until - time.monotonic()):
                    return []
            self._await_company(long)
            chosen = self._alone(long) or self._turns.take(self.pass_tokens(), self._clock(), long=long)
        _settle(late)
        return chosen

    def drop(self, units: Sequence[Unit]) -> None:
        """Nobody waits for this request any more: what is not in a worker leaves the queue at once."""
        with self._changed:
            for unit in units:
                unit.gone = True
            dropped = self._turns.drop(units) + self._pick_again(lambda unit: unit.gone)
        _settle([(unit, Fate.GONE) for unit in dropped])

    def expire(self) -> None:
        """Drop what is late; for when nobody takes."""
        with self._changed:
            late = self._late()
        _settle(late)

    def ran(self, tokens: int, seconds: float) -> None:
        """Note how long a pass of one worker took. Passes that are less than half full say little of what it can do."""
        if 2 * tokens >= self.pass_tokens():
            self.rate += 0.1 * (self.workers * tokens / max(seconds, 1e-3) - self.rate)

    def tried(self, rate: float) -> None:
        """Note the tokens a second that a worker had in a trial when it began. The first of them count, as a mean."""
        with self._changed:
            if self._trials < self.workers:
                self.rate = (self._trials * self.rate + self.workers * rate) / (self._trials + 1)
                self._trials += 1

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
            left = self._turns.drop_all() + self._pick_again(lambda _: True)
            self._changed.notify_all()
        _settle([(unit, Fate.LATE) for unit in left])

    def _room(self) -> float:
        """Tokens that can be answered in time when nothing waits."""
        return min(self.limits.queue_tokens, IN_TIME * self.rate * self.limits.deadline_s)

    def _check_size(self, units: Sequence[Unit], tokens: int) -> None:
        """Raise TooLargeError for what would be late, or make others late, even if nothing else waited."""
        if tokens > self.most_tokens() and not self._trials:
            raise FullError(
                BEGIN_S, "no worker has begun yet, so it is not known whether so much can be answered in time"
            )
        most, in_time = self.most_tokens(), f"are answered within {self.limits.deadline_s:g} s"
        if tokens > most:
            rows = max(1, len(units) * most // tokens)
            fit = f"{most:,} of one request" + (f", some {rows:,} rows like these," if len(units) > 1 else "")
            why = f"at the measured {self.rate:,.0f} tokens a second only {fit} {in_time} beside others"
            if self._room() == self.limits.queue_tokens:
                why = f"only {fit} are taken where {self.limits.queue_tokens:,} may wait"
            advice = f"send {math.ceil(tokens / most):,} requests or more, one after the other" if len(units) > 1 else (
                "divide the text")  # fmt: skip
            raise TooLargeError(f"{len(units):,} rows have some {tokens:,} tokens, and {why}; {advice}")
        long = sum(unit.tokens for unit in units if unit.tokens > self.limits.batch_tokens)
        rate = self.rate / self.workers
        most = int(IN_TIME * rate * self.limits.deadline_s)
        if long > max(most, QUANTUM):
            raise TooLargeError(
                f"texts that are longer than a pass have some {long:,} tokens, and one worker reads them, at the measured "
                f"{rate:,.0f} tokens a second: only {most:,} {in_time}; divide the texts, or send fewer at once"
            )

    def _wait_s(self, tokens: int) -> float:
        """Seconds until a request of so many tokens can be put; 0 or less: now."""
        if self._closed:
            return 1.0
        if not self.tokens:
            self._overloaded = False
            return 0.0
        patience_s, wait_s = self.limits.patience_s, self._turns.ahead / self.rate
        short = wait_s <= SHORT * patience_s
        over = self.tokens + tokens - self._room()
        if over > 0:
            self._overloaded = not short and (self._overloaded or tokens <= QUANTUM)
            return over / self.rate
        self._overloaded &= not short
        if self._overloaded and wait_s > patience_s:
            return wait_s - patience_s
        more = max(0, tokens - QUANTUM)  # what large requests have beyond a small one
        over = self._turns.tokens - self._turns.ahead + more - SHARE * self._room()
        return over / self.rate if more else 0.0

    def _first_again(self, long: bool) -> Unit | None:
        return next((unit for unit in self._again if long or unit.tokens <= self.limits.batch_tokens), None)

    def _await_company(self, long: bool) -> None:
        """Let a pass that is not full wait for more, at most `wait_s` from the arrival of what would go first."""
        while not self._again and not self._closed and self._turns.tokens < self.pass_tokens():
            first = self._turns.first(long=long)
            left = first.arrived + self.limits.wait_s - self._clock() if first is not None else 0.0
            if left <= 0:
                return
            self._changed.wait(left)

    def _alone(self, long: bool) -> list[Unit]:
        """A row whose worker has died, if there is one."""
        unit = self._first_again(long)
        return self._pick_again(lambda other: other is unit)

    def _pick_again(self, wanted: Callable[[Unit], bool]) -> list[Unit]:
        """Take out some of those whose worker has died."""
        picked = [unit for unit in self._again if wanted(unit)]
        if picked:
            self._again = deque(unit for unit in self._again if not wanted(unit))
            self._again_tokens -= sum(unit.tokens for unit in picked)
        return picked

    def _late(self) -> list[tuple[Unit, Fate]]:
        """Take out what can no longer be begun in time."""
        now = self._clock()
        late = self._turns.drop_late(now) + self._pick_again(lambda unit: unit.deadline < now)
        return [(unit, Fate.LATE) for unit in late]


def _settle(fates: Sequence[tuple[Unit, Fate]]) -> None:
    """Outside the lock: whoever is told may come back."""
    for unit, fate in fates:
        unit.done(fate)
