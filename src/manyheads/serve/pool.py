"""The workers of a server: each is fed by a thread of its own, watched, and started again when it dies.

What a dead worker had been given goes back to the head of the queue: each row alone, twice, and then no more. So a row
that kills whoever reads it fails by itself, and nothing that was accepted is left without an answer.
"""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from manyheads.serve.queue import Queue
from manyheads.serve.turns import Unit
from manyheads.serve.worker import READY, Crew, work

LOOK_S = 0.2
"""How often workers and rows that wait are looked after."""
LOAD_S = 600.0
"""A worker that has not loaded its model by then never will."""
PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Before a worker that could not start is started again: doubled each time."""
TIMES = 10
"""So many times what a pass should take is a hang, with `Limits.hang_s` on top."""


class Watcher(Protocol):
    """Told of what workers do; from their threads."""

    def passed(self, units: Sequence[Unit], seconds: float) -> None:
        """A pass has been answered."""
        ...

    def ready(self, worker: int, seconds: float) -> None:
        """A worker has loaded the model."""
        ...

    def restarted(self, worker: int, reason: str) -> None:
        """A worker has died, or could not start."""
        ...


@dataclass(slots=True)
class _Seat:
    """The place of a worker."""

    process: BaseProcess | None = None
    ready: bool = False
    until: float = math.inf
    """When what it is at counts as hung, by time.monotonic()."""


class Pool:
    """Workers that answer what is in a queue."""

    def __init__(self, crew: Crew, queue: Queue, watcher: Watcher) -> None:
        """Nothing is started yet."""
        self.crew = crew
        self.queue = queue
        self.watcher = watcher
        self.moved = -math.inf
        """When the last pass ended, by time.monotonic()."""
        self.hopeless: str | None = None
        """Why no worker can be started, where none ever was."""
        self._seats = [_Seat() for _ in range(crew.workers)]
        self._ever = False
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start all of them, and return at once."""
        self._threads = [threading.Thread(target=self._feed, args=(i,), daemon=True) for i in range(self.crew.workers)]
        self._threads.append(threading.Thread(target=self._watch, daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def ready(self) -> bool:
        """Whether every worker has loaded the model and is alive."""
        return not self._ending.is_set() and all(
            seat.ready and seat.process is not None and seat.process.is_alive() for seat in self._seats
        )

    @property
    def pids(self) -> list[int]:
        """Of the workers that are there."""
        return [seat.process.pid for seat in self._seats if seat.process is not None and seat.process.pid is not None]

    def close(self) -> None:
        """End the workers; rows that are not answered by now are let go. Returns when they have gone."""
        self._ending.set()
        self.queue.close()
        for seat in self._seats:
            if seat.process is not None:
                seat.process.kill()
        for thread in self._threads:
            thread.join()

    def _watch(self) -> None:
        """Let no row wait past its deadline when nobody takes it, and end workers that hang."""
        while not self._ending.wait(LOOK_S):
            self.queue.expire()
            for seat in self._seats:
                if seat.process is not None and time.monotonic() > seat.until:
                    seat.until = math.inf
                    seat.process.kill()

    def _feed(self, i: int) -> None:
        """Keep one seat taken."""
        failures, seat = 0, self._seats[i]
        while not self._ending.is_set():
            started = time.monotonic()
            try:
                pipe = self._started(i)
            except OSError as error:  # no memory, or no more processes or files
                self.watcher.restarted(i, f"no process could be started: {error.strerror}")
                self._ending.wait(LONGEST_PAUSE_S)
                continue
            greeting = self._greeting(seat, pipe)
            if greeting == READY:
                failures, self._ever, seat.ready = 0, True, True
                self.watcher.ready(i, time.monotonic() - started)
                self._serve(i, pipe)
                seat.ready = False
            pipe.close()
            reason = self._ended(seat, greeting)
            if self._ending.is_set():
                return
            self.watcher.restarted(i, reason)
            if greeting != READY:
                self._ending.wait(min(PAUSE_S * 2**failures, LONGEST_PAUSE_S))
                failures = min(failures + 1, 10)

    def _started(self, i: int) -> Connection:
        context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there, self.crew), name=f"manyheads-worker-{i}", daemon=True)
        process.start()
        there.close()  # or its end would not be noticed
        self._seats[i].process = process
        if self._ending.is_set():  # close() may have looked for it too early
            process.kill()
        return here

    def _greeting(self, seat: _Seat, pipe: Connection) -> str | None:
        """READY, or why not; None from one that was not there to say."""
        seat.until = time.monotonic() + LOAD_S
        try:
            greeting = str(pipe.recv())
            if greeting == READY:
                self.queue.tried(float(pipe.recv()))
        except (EOFError, OSError):
            return None
        finally:
            seat.until = math.inf
        if greeting != READY and not self._ever:
            self.hopeless = greeting
            self.queue.close()
        return greeting

    def _ended(self, seat: _Seat, greeting: str | None) -> str:
        """Wait for the end of a process; why it came."""
        assert seat.process is not None, "it was started"
        seat.process.join(PAUSE_S)
        seat.process.kill()  # for one that would not end
        seat.process.join()
        if greeting is None or greeting == READY:
            return f"exit status {seat.process.exitcode}"
        return greeting

    def _serve(self, i: int, pipe: Connection) -> None:
        """Feed one worker until it dies, or all ends. One worker takes the long rows; others, where there are any, do not."""
        seat = self._seats[i]
        while not self._ending.is_set() and seat.process is not None:
            units = self.queue.take(LOOK_S, long=i == [other.ready for other in self._seats].index(True))
            if units:
                if not self._passed(seat, pipe, units):
                    return
            elif not seat.process.is_alive():
                return

    def _passed(self, seat: _Seat, pipe: Connection, units: Sequence[Unit]) -> bool:
        """Have units answered; False when the worker died over them."""
        started = time.monotonic()
        tokens = sum(unit.tokens for unit in units)
        for unit in units:
            unit.attempts += 1
            unit.started = started
        seat.until = started + self.queue.limits.hang_s + TIMES * self.queue.expected_s(tokens)
        try:
            pipe.send([(unit.row, unit.names) for unit in units])
            answers: list[dict[str, Any]] = pipe.recv()
        except Exception:  # mostly OSError and EOFError; whatever it is, no row may be lost nor this thread end
            seat.ready = False
            self.queue.put_back(units)
            return False
        finally:
            seat.until = math.inf
        self.moved = time.monotonic()
        self.queue.ran(tokens, self.moved - started)
        for unit, answer in zip(units, answers, strict=True):
            unit.done(answer)
        self.watcher.passed(units, self.moved - started)
        return True
