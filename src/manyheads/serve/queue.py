"""The request queue: what it accepts, what it refuses on arrival, and the passes it hands to workers.

Decided here: a request is accepted only if it can be answered by its deadline at the measured rate, together with
everything accepted before it. One that could not be answered in time even by an idle server, or only by shutting others
out, is too large, now and later; one that does not fit now may come again. Large requests get at most half of what can be
answered before a deadline, so small ones always find room. `scheduling.py` decides who goes first.

A burst of small requests is accepted as long as all of them can be answered in time. The first that could not starts an
overload: until the queue is short again, requests are accepted only while the wait stays within `Limits.overload_wait_s`,
since a client that is refused at once can ask another server.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from manyheads.serve.errors import QueueFullError, TooLargeError
from manyheads.serve.limits import Limits
from manyheads.serve.scheduling import QUANTUM, Failure, QueuedRow, Scheduler

MAX_ATTEMPTS = 3
"""Times a row may be in a worker that dies; from the second on it goes alone, so that no other row dies with it."""
MIN_PASS_TOKENS = 256
"""Of a full pass, however slow the worker: below that the fixed cost of a pass shows."""
INITIAL_RATE = 2_000.0
"""Tokens per second of a worker not measured yet."""
STARTUP_S = 5.0
"""Retry-After while no worker has been measured."""
SAFETY = 0.8
"""Share of the deadline, at the measured rate, that is promised: shared cores are slower at times."""
LARGE_SHARE = 0.5
"""Share of what can be answered in time that large requests may use."""
SHORT_WAIT = 0.5
"""A queue is short below this share of `Limits.overload_wait_s`."""


class Queue:
    """Waiting rows. Any thread may put, any may take.

    >>> queue = Queue(Limits(), workers=1)
    >>> queue.put([QueuedRow({"text": "Hello"}, ["section"], 5, time.monotonic() + 30, print)])
    >>> len(queue), [row.row for row in queue.take(timeout_s=1)]
    (1, [{'text': 'Hello'}])
    """

    def __init__(self, limits: Limits, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`workers` take from it."""
        self.limits = limits
        self.workers = workers
        self.rate = INITIAL_RATE * workers
        """Tokens per second of all workers together."""
        self._clock = clock
        self._scheduler = Scheduler()
        self._retries: deque[QueuedRow] = deque()
        """Rows whose worker died: they go first, one at a time."""
        self._changed = threading.Condition()
        self._closed = False
        self._trials = 0
        self._overloaded = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._scheduler) + len(self._retries)

    @property
    def tokens(self) -> int:
        """Tokens of all waiting rows."""
        return self._scheduler.tokens + sum(row.tokens for row in list(self._retries))

    def put(self, rows: Sequence[QueuedRow]) -> None:
        """Add the rows of one request: all of them, or none. Raises TooLargeError, QueueFullError."""
        tokens = sum(row.tokens for row in rows)
        with self._changed:
            self._check_size(rows, tokens)
            wait_s = self._wait_s(tokens)
            if wait_s > 0:
                raise QueueFullError(max(1.0, wait_s))
            now, through = self._clock(), 0
            for row in rows:
                through += row.tokens
                row.arrived = now
                row.due = now + SAFETY * (row.deadline - now) * through / tokens - self.expected_s(row.tokens)
            self._scheduler.add(rows, self.limits.batch_tokens)
            self._changed.notify_all()

    def check_room(self) -> None:
        """Raise QueueFullError when even the smallest request would be refused."""
        with self._changed:
            wait_s = self._wait_s(1)
        if wait_s > 0:
            raise QueueFullError(max(1.0, wait_s))

    def requeue(self, rows: Sequence[QueuedRow]) -> None:
        """Put back rows whose worker died, to be taken next. A row that was in too many dead workers fails."""
        failed: list[tuple[QueuedRow, Failure]] = []
        with self._changed:
            for row in rows:
                if row.cancelled:
                    failed.append((row, Failure.CANCELLED))
                elif row.attempts >= MAX_ATTEMPTS:
                    failed.append((row, Failure.CRASHED))
                elif self._closed:
                    failed.append((row, Failure.EXPIRED))
                else:
                    self._retries.append(row)
            self._changed.notify_all()
        _fail(failed)

    def take(self, timeout_s: float, *, long: bool = True) -> list[QueuedRow]:
        """The rows of the next pass; none if none arrives in time. `long`: include rows longer than a pass.

        Expired rows are dropped on the way.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            while True:
                expired = self._pop_expired()
                if expired or self._closed or self._next_retry(long) or self._scheduler.peek(long=long):
                    break
                if not self._changed.wait(until - time.monotonic()):
                    return []
            self._wait_to_fill(long)
            retry = self._next_retry(long)
            if retry is not None:
                self._retries.remove(retry)
                chosen = [retry]
            else:
                chosen = self._scheduler.take(self.pass_tokens(), self._clock(), long=long)
        _fail(expired)
        return chosen

    def cancel(self, rows: Sequence[QueuedRow]) -> None:
        """Drop the waiting rows of a request that nobody waits for."""
        with self._changed:
            for row in rows:
                row.cancelled = True
            dropped = self._scheduler.drop(rows) + self._pop_retries(lambda row: row.cancelled)
        _fail([(row, Failure.CANCELLED) for row in dropped])

    def expire(self) -> None:
        """Drop expired rows; for times when no worker takes any."""
        with self._changed:
            expired = self._pop_expired()
        _fail(expired)

    def record_pass(self, tokens: int, seconds: float) -> None:
        """Update the rate from a pass of one worker. Passes less than half full are ignored: overhead dominates them."""
        if 2 * tokens >= self.pass_tokens():
            self.rate += 0.1 * (self.workers * tokens / max(seconds, 1e-3) - self.rate)

    def record_trial(self, rate: float) -> None:
        """Note the tokens per second a worker reached at startup. The rate is the mean of the first trial of each worker."""
        with self._changed:
            if self._trials < self.workers:
                self.rate = (self._trials * self.rate + self.workers * rate) / (self._trials + 1)
                self._trials += 1

    def pass_tokens(self) -> int:
        """Tokens of a full pass: what a worker processes in `Limits.pass_s`, within bounds."""
        per_worker = int(self.rate / self.workers * self.limits.pass_s)
        return min(self.limits.batch_tokens, max(MIN_PASS_TOKENS, per_worker))

    def expected_s(self, tokens: int) -> float:
        """Seconds one worker should take for so many tokens."""
        return self.workers * tokens / self.rate

    def close(self) -> None:
        """Accept no more, and drop what waits."""
        with self._changed:
            self._closed = True
            left = self._scheduler.drop_all() + self._pop_retries(lambda _: True)
            self._changed.notify_all()
        _fail([(row, Failure.EXPIRED) for row in left])

    def _capacity(self) -> float:
        """Tokens that an empty queue can accept and answer in time."""
        return min(self.limits.queue_tokens, SAFETY * self.rate * self.limits.deadline_s)

    def _check_size(self, rows: Sequence[QueuedRow], tokens: int) -> None:
        """Raise TooLargeError for a request that would be late, or make others late, even on an idle server."""
        most, in_time = max(QUANTUM, int(LARGE_SHARE * self._capacity())), f"within {self.limits.deadline_s:g} s"
        if tokens > most and not self._trials:
            raise QueueFullError(STARTUP_S, "no worker has started yet, so the time for a large request is unknown")
        if tokens > most:
            fit = f"{most:,} tokens per request"
            advice = "split the text"
            if len(rows) > 1:
                fit += f" (about {max(1, len(rows) * most // tokens):,} rows like these)"
                advice = f"send {math.ceil(tokens / most):,} or more requests, one after the other"
            if self._capacity() == self.limits.queue_tokens:
                reason = f"the queue holds {self.limits.queue_tokens:,} tokens and accepts at most {fit}"
            else:
                reason = f"at the measured {self.rate:,.0f} tokens/s at most {fit} can be answered {in_time}"
            raise TooLargeError(f"{len(rows):,} rows have about {tokens:,} tokens, but {reason}; {advice}")
        long = sum(row.tokens for row in rows if row.tokens > self.limits.batch_tokens)
        rate = self.rate / self.workers
        most = int(SAFETY * rate * self.limits.deadline_s)
        if long > max(most, QUANTUM):
            raise TooLargeError(
                f"texts longer than a pass have about {long:,} tokens and are read by one worker, at the measured "
                f"{rate:,.0f} tokens/s: at most {most:,} can be answered {in_time}; split the texts, or send fewer at once"
            )

    def _wait_s(self, tokens: int) -> float:
        """Seconds until a request of so many tokens would be accepted; 0 or less: now."""
        if self._closed:
            return 1.0
        if not self.tokens:
            self._overloaded = False
            return 0.0
        limit_s, wait_s = self.limits.overload_wait_s, self._scheduler.tokens_ahead / self.rate
        short = wait_s <= SHORT_WAIT * limit_s
        excess = self.tokens + tokens - self._capacity()
        if excess > 0:
            self._overloaded = not short and (self._overloaded or tokens <= QUANTUM)
            return excess / self.rate
        self._overloaded &= not short
        if self._overloaded and wait_s > limit_s:
            return wait_s - limit_s
        large = max(0, tokens - QUANTUM)  # what large requests have beyond a small one
        excess = self._scheduler.tokens - self._scheduler.tokens_ahead + large - LARGE_SHARE * self._capacity()
        return excess / self.rate if large else 0.0

    def _next_retry(self, long: bool) -> QueuedRow | None:
        return next((row for row in self._retries if long or row.tokens <= self.limits.batch_tokens), None)

    def _wait_to_fill(self, long: bool) -> None:
        """Let a pass that is not full wait for more rows, at most `fill_wait_s` from the arrival of its first one."""
        while not self._retries and not self._closed and self._scheduler.tokens < self.pass_tokens():
            first = self._scheduler.peek(long=long)
            left = first.arrived + self.limits.fill_wait_s - self._clock() if first is not None else 0.0
            if left <= 0:
                return
            self._changed.wait(left)

    def _pop_retries(self, wanted: Callable[[QueuedRow], bool]) -> list[QueuedRow]:
        popped = [row for row in self._retries if wanted(row)]
        for row in popped:
            self._retries.remove(row)
        return popped

    def _pop_expired(self) -> list[tuple[QueuedRow, Failure]]:
        """Remove what can no longer be started in time."""
        now = self._clock()
        expired = self._scheduler.drop_expired(now) + self._pop_retries(lambda row: row.deadline < now)
        return [(row, Failure.EXPIRED) for row in expired]


def _fail(failures: Sequence[tuple[QueuedRow, Failure]]) -> None:
    """Report failures outside the lock: `finish` may call the queue."""
    for row, failure in failures:
        row.finish(failure)
