"""The rows of one request while they wait for their answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from manyheads.serve.errors import ClientLeftError, DeadlineError
from manyheads.serve.limits import estimated_tokens
from manyheads.serve.queue import Queue
from manyheads.serve.scheduling import Failure, QueuedRow

Disconnected = Callable[[], Awaitable[None]]
"""Returns once the client has closed its connection."""


class PendingRequest:
    """The queued rows of a request, and their answers as they arrive."""

    def __init__(
        self,
        queue: Queue,
        rows: Sequence[Mapping[str, Any]],
        tasks: Sequence[str],
        within_s: float,
        labels: str | None = None,
    ) -> None:
        """Puts the rows into the queue. Needs a running event loop. Raises TooLargeError, QueueFullError.

        Encoding `labels` counts as work for the first row.
        """
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        self._lock = threading.Lock()
        self._answers: list[dict[str, Any] | None] = [None] * len(rows)
        self._left = len(rows)
        self._failure: Failure | None = None
        """Of the request as a whole."""
        deadline = time.monotonic() + within_s
        self._rows = [
            QueuedRow(row, tasks, estimated_tokens(row), deadline, partial(self._finish, i), labels)
            for i, row in enumerate(rows)
        ]
        if labels is not None and rows:
            self._rows[0].tokens += estimated_tokens({"labels": labels})
        if not rows:
            self._finished.set()
        queue.put(self._rows)

    @property
    def queue_s(self) -> float:
        """The longest time of a row in the queue."""
        return max((row.started - row.arrived for row in self._rows), default=0.0)

    async def answers(self, disconnected: Disconnected | None = None) -> list[dict[str, Any] | None]:
        """The answers in order; None for a row that killed workers. Rows are cancelled if the client disconnects.

        Raises DeadlineError or ClientLeftError as soon as one row expires or is cancelled.
        """

        async def watch() -> None:
            if disconnected is not None:
                await disconnected()
                self._cancel()

        watcher = asyncio.ensure_future(watch())
        try:
            await self._finished.wait()
        finally:
            watcher.cancel()
            self._cancel()
        if self._failure is Failure.EXPIRED:
            raise DeadlineError("the deadline passed; send fewer rows at once, or later")
        if self._failure is Failure.CANCELLED:
            raise ClientLeftError("the client closed the connection")
        return self._answers

    def _cancel(self) -> None:
        self._queue.cancel(self._rows)

    def _finish(self, i: int, result: dict[str, Any] | Failure) -> None:
        """Called from any thread."""
        with self._lock:
            self._left -= 1
            failed = False
            if isinstance(result, dict):
                self._answers[i] = result
            elif result is not Failure.CRASHED and self._failure is None:
                self._failure, failed = result, True
            finished = self._left == 0 or failed
        if failed:
            self._cancel()  # calls this method for the other rows
        if finished:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._finished.set)
