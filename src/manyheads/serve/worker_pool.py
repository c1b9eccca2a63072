"""The workers of a server: each is fed by its own thread, watched, and restarted when it dies.

The rows of a dead worker go back to the head of the queue, each alone, at most twice. So a row that kills workers fails by
itself, and no accepted row is left without an answer.
"""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from manyheads.serve.metrics import Metrics
from manyheads.serve.queue import Queue
from manyheads.serve.scheduling import QueuedRow
from manyheads.serve.worker import READY, WorkerSettings, run_worker

POLL_S = 0.2
"""How often workers and waiting rows are checked."""
LOAD_TIMEOUT_S = 600.0
"""A worker that takes longer to load its model is killed."""
RESTART_PAUSE_S = 1.0
MAX_RESTART_PAUSE_S = 30.0
"""Before a worker that failed to start is started again: doubled each time."""
HANG_FACTOR = 10
"""A pass hangs if it takes this many times its expected time plus `Limits.hang_s`."""


@dataclass(slots=True)
class _Slot:
    """The place of one worker, whose processes come and go."""

    process: BaseProcess | None = None
    ready: bool = False
    hangs_at: float = math.inf
    """When the current work counts as hung, by time.monotonic()."""


class WorkerPool:
    """Workers that answer the rows of a queue."""

    def __init__(self, settings: WorkerSettings, queue: Queue, metrics: Metrics) -> None:
        """Starts nothing."""
        self.settings = settings
        self.queue = queue
        self.metrics = metrics
        self.last_pass = -math.inf
        """When the last pass ended, by time.monotonic()."""
        self.startup_error: str | None = None
        """Why no worker could be started, if none ever was."""
        self._slots = [_Slot() for _ in range(settings.workers)]
        self._ever_ready = False
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start all workers without waiting for them."""
        self._threads = [threading.Thread(target=self._run_slot, args=(i,), daemon=True) for i in range(len(self._slots))]
        self._threads.append(threading.Thread(target=self._watch, daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def ready(self) -> bool:
        """Whether every worker has loaded the model and is alive."""
        return not self._closing.is_set() and all(
            slot.ready and slot.process is not None and slot.process.is_alive() for slot in self._slots
        )

    @property
    def settled(self) -> bool:
        """Whether a worker has been ready once, or none can be."""
        return self._ever_ready or self.startup_error is not None

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers."""
        return [slot.process.pid for slot in self._slots if slot.process is not None and slot.process.pid is not None]

    def close(self) -> None:
        """Kill the workers and wait for them; unanswered rows fail."""
        self._closing.set()
        self.queue.close()
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()
        for thread in self._threads:
            thread.join()

    def _watch(self) -> None:
        """Expire rows that no worker takes, and kill workers that hang."""
        while not self._closing.wait(POLL_S):
            self.queue.expire()
            for slot in self._slots:
                if slot.process is not None and time.monotonic() > slot.hangs_at:
                    slot.hangs_at = math.inf
                    slot.process.kill()

    def _run_slot(self, i: int) -> None:
        """Keep one slot filled."""
        failures, slot = 0, self._slots[i]
        while not self._closing.is_set():
            started = time.monotonic()
            try:
                pipe = self._start_process(i)
            except OSError as error:  # no memory, or no more processes or files
                self.metrics.worker_restarted(i, f"no process could be started: {error.strerror}")
                self._closing.wait(MAX_RESTART_PAUSE_S)
                continue
            greeting = self._greeting(slot, pipe)
            if greeting == READY:
                failures, self._ever_ready, slot.ready = 0, True, True
                self.metrics.worker_ready(i, time.monotonic() - started)
                self._feed(i, pipe)
                slot.ready = False
            pipe.close()
            reason = self._exit_reason(slot, greeting)
            if self._closing.is_set():
                return
            self.metrics.worker_restarted(i, reason)
            if greeting != READY:
                self._closing.wait(min(RESTART_PAUSE_S * 2**failures, MAX_RESTART_PAUSE_S))
                failures = min(failures + 1, 10)

    def _start_process(self, i: int) -> Connection:
        context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
        ours, theirs = context.Pipe()
        own = replace(self.settings, number=self.settings.number + i)
        process = context.Process(
            target=run_worker, args=(theirs, own), name=f"manyheads-worker-{i}", daemon=True
        )
        process.start()
        theirs.close()  # or the end of the process would go unnoticed
        self._slots[i].process = process
        if self._closing.is_set():  # close() may have looked for it too early
            process.kill()
        return ours

    def _greeting(self, slot: _Slot, pipe: Connection) -> str | None:
        """READY, or why the worker could not start; None if it died without a word."""
        slot.hangs_at = time.monotonic() + LOAD_TIMEOUT_S
        try:
            greeting = str(pipe.recv())
            if greeting == READY:
                self.queue.record_trial(float(pipe.recv()))
        except (EOFError, OSError):
            return None
        finally:
            slot.hangs_at = math.inf
        if greeting != READY and not self._ever_ready:
            self.startup_error = greeting
            self.queue.close()
        return greeting

    def _exit_reason(self, slot: _Slot, greeting: str | None) -> str:
        """Wait for a process to end; why it did."""
        assert slot.process is not None, "it was started"
        slot.process.join(RESTART_PAUSE_S)
        slot.process.kill()  # if it does not end by itself
        slot.process.join()
        if greeting is None or greeting == READY:
            return f"exit status {slot.process.exitcode}"
        return greeting

    def _feed(self, i: int, pipe: Connection) -> None:
        """Feed one worker until it dies or the pool closes. The first ready worker takes the long rows, the others none."""
        slot = self._slots[i]
        while not self._closing.is_set() and slot.process is not None:
            rows = self.queue.take(POLL_S, long=i == [other.ready for other in self._slots].index(True))
            if rows:
                if not self._run_pass(slot, pipe, rows):
                    return
            elif not slot.process.is_alive():
                return

    def _run_pass(self, slot: _Slot, pipe: Connection, rows: Sequence[QueuedRow]) -> bool:
        """Have rows answered; False if the worker died over them."""
        started = time.monotonic()
        tokens = sum(row.tokens for row in rows)
        for row in rows:
            row.attempts += 1
            row.started = started
        slot.hangs_at = started + self.queue.limits.hang_s + HANG_FACTOR * self.queue.expected_s(tokens)
        try:
            pipe.send([(row.row, row.tasks, row.labels) for row in rows])
            answers: list[dict[str, Any]] = pipe.recv()
        except Exception:  # mostly OSError and EOFError; no error may lose a row or end this thread
            slot.ready = False
            self.queue.requeue(rows)
            return False
        finally:
            slot.hangs_at = math.inf
        self.last_pass = time.monotonic()
        self.queue.record_pass(tokens, self.last_pass - started)
        for row, answer in zip(rows, answers, strict=True):
            row.finish(answer)
        self.metrics.pass_finished(rows, self.last_pass - started)
        return True
