"""The workers of a server: each is fed by a thread of its own, watched, and started again when it dies.

What a dead worker had been given goes back to the head of the queue: once more, alone, and then no more. So a row that
kills whoever reads it fails by itself, and nothing that was accepted is left without an answer.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol

from manyheads.serve.queue import Fate, Queue, Unit
from manyheads.serve.worker import READY, work

LOOK_S = 0.2
"""How often an idle worker is looked after."""
PAUSE_S = 1.0
"""Before a worker that could not start is started again."""


class Watcher(Protocol):
    """Told of what workers do; from their threads."""

    def passed(self, units: Sequence[Unit], seconds: float) -> None:
        """A pass has been answered."""
        ...

    def restarted(self, reason: str) -> None:
        """A worker has died, or could not start."""
        ...


@dataclass(frozen=True, slots=True)
class Crew:
    """How many workers, and with what."""

    folder: str
    workers: int
    threads: int
    """Of each."""
    batch_tokens: int


class Pool:
    """Workers that answer what is in a queue."""

    def __init__(self, crew: Crew, queue: Queue, watcher: Watcher) -> None:
        """Nothing is started yet."""
        self.crew = crew
        self.queue = queue
        self.watcher = watcher
        self._ready = [False] * crew.workers
        self._processes: list[BaseProcess | None] = [None] * crew.workers
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failure: str | None = None
        """Why the last worker that could not start could not."""

    def start(self) -> None:
        """Start all of them, and return at once."""
        for i in range(self.crew.workers):
            thread = threading.Thread(target=self._feed, args=(i,), name=f"manyheads-worker-{i}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def ready(self) -> bool:
        """Whether every worker has loaded the model and is alive."""
        alive = (process is not None and process.is_alive() for process in self._processes)
        return not self._ending.is_set() and all(self._ready) and all(alive)

    @property
    def pids(self) -> list[int]:
        """Of the workers that are there."""
        return [process.pid for process in self._processes if process is not None and process.pid is not None]

    def close(self) -> None:
        """End the workers, with what they are at answered and what waits let go. Returns when they have gone."""
        self._ending.set()
        for unit in self.queue.close():
            unit.done(Fate.LATE)
        for thread in self._threads:
            thread.join()

    def _feed(self, i: int) -> None:
        while not self._ending.is_set():
            pipe, process = self._started(i)
            try:
                greeting = pipe.recv()
            except (EOFError, OSError):
                greeting = f"it ended with exit status {process.exitcode}"
            if greeting == READY:
                self._ready[i] = True
                self._serve(i, pipe, process)
                self._ready[i] = False
            elif not self._ending.is_set():
                self.failure = str(greeting)
                self.watcher.restarted(self.failure)
                self._ending.wait(PAUSE_S)
            pipe.close()
            process.join()

    def _started(self, i: int) -> tuple[Connection, BaseProcess]:
        context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
        here, there = context.Pipe()
        crew = self.crew
        process = context.Process(
            target=work,
            args=(there, crew.folder, crew.threads, crew.batch_tokens),
            name=f"manyheads-worker-{i}",
            daemon=True,
        )
        process.start()
        there.close()  # or its end would not be noticed
        self._processes[i] = process
        return here, process

    def _serve(self, i: int, pipe: Connection, process: BaseProcess) -> None:
        """Feed one worker until it dies, or all ends. The first takes long rows; with several, others keep to short ones."""
        while not self._ending.is_set():
            units = self.queue.take(LOOK_S, long=i == 0)
            if not units:
                if not process.is_alive():
                    break
                continue
            if not self._passed(pipe, units):
                break
        if not self._ending.is_set():
            self._ready[i] = False
            process.join(PAUSE_S)
            self.watcher.restarted(f"a worker ended with exit status {process.exitcode}")

    def _passed(self, pipe: Connection, units: Sequence[Unit]) -> bool:
        """Have units answered; False when the worker died over them."""
        started = time.monotonic()
        for unit in units:
            unit.attempts += 1
            unit.started = started
        try:
            pipe.send([(unit.row, unit.names) for unit in units])
            rows = pipe.recv()
        except (EOFError, OSError):
            self.queue.put_back(units)
            return False
        seconds = time.monotonic() - started
        self.queue.ran(sum(unit.tokens for unit in units), seconds)
        self.watcher.passed(units, seconds)
        for unit, row in zip(units, rows, strict=True):
            unit.done(row)
        return True
