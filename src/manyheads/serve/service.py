"""From the rows of a request to their answers: rows are checked, queued, waited for, and put in order again."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import HTTPException, Request

from manyheads.errors import RowError
from manyheads.serve.limits import Limits, estimated_tokens
from manyheads.serve.measures import Measures
from manyheads.serve.pool import Pool
from manyheads.serve.queue import FullError, Queue, TooLargeError
from manyheads.serve.turns import Fate, Unit
from manyheads.serve.worker import Crew
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import AnswerForm

PROBE_S = 0.5
"""A row of the readiness check must be answered within it, or others must have been."""
MOVED_S = 10.0
"""A queue has stopped when no pass has ended for so long: a text of 50,000 tokens takes about as much."""
LEFT = 499
"""What the log says of a client that has gone, as nginx does; nobody is there to be told."""
DEADLY = {"error": {"type": "internal_error", "message": "this row could not be answered: workers ended over it"}}


@dataclass(frozen=True, slots=True)
class Served:
    """The model behind a server: what its answers carry."""

    name: str
    hash: str
    tasks: Mapping[str, Mapping[str, Any]]
    """Each task as the manifest has it, and under `answers` what its answers look like."""
    created: int = 0
    """When the model was written, in seconds since 1970."""

    def answering(self, form: AnswerForm) -> list[str]:
        """Names of the tasks whose answers have a form."""
        return [name for name, task in self.tasks.items() if task["answers"] == form]


def with_forms(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Tasks of a manifest with the form of their answers."""
    return {name: {**task, "answers": TASK_TYPES[task["type"]].answer_form} for name, task in tasks.items()}


@dataclass(frozen=True, slots=True)
class Reply:
    """Output rows, in order, and how long the one that waited longest was in the queue."""

    outputs: list[dict[str, Any]]
    queue_s: float


class Service:
    """A queue, its workers, and the model they serve."""

    def __init__(self, served: Served, crew: Crew, limits: Limits) -> None:
        """Nothing is started yet."""
        self.served = served
        self.limits = limits
        self.queue = Queue(limits, crew.workers)
        self.measures = Measures(self.queue)
        self.pool = Pool(crew, self.queue, self.measures)
        self.draining = False
        """Set when the server has been told to stop."""
        self._probe: asyncio.Task[bool] | None = None

    async def answer(self, rows: Sequence[Any], names: Sequence[str], request: Request) -> Reply:
        """Answers of these tasks to rows, as they came.

        Raises HTTPException: 413 cannot be done in time, 429 full, 503 late, 499 the client has left.
        """
        outputs: dict[int, dict[str, Any]] = {}
        good: dict[int, Mapping[str, Any]] = {}
        for i, given in enumerate(rows):
            row = {"text": given} if isinstance(given, str) else given
            try:
                self.limits.check_row(_object(row))
                good[i] = row
            except RowError as error:
                outputs[i] = {**_head(row), "error": {"type": "invalid_row", "message": str(error)}}
        waiting = _Waiting(self.queue, list(good.values()), names, self.limits.deadline_s)
        try:
            self.queue.put(waiting.units)
        except TooLargeError as error:
            raise HTTPException(413, str(error)) from None
        except FullError as error:
            raise full(error.retry_after_s, str(error)) from None
        for i, answer in zip(good, await _unless_left(waiting, request), strict=True):
            outputs[i] = {**_head(good[i]), **(answer or DEADLY)}
        reply = Reply([outputs[i] for i in range(len(rows))], waiting.queue_s)
        self.measures.rows(reply.outputs, names)
        return reply

    async def is_ready(self) -> bool:
        """Whether all workers are there and the queue moves: a row comes back through it, or others' rows do."""
        if self.draining or not self.pool.ready:
            return False
        if self._probe is None or self._probe.done():  # many who ask cost one row
            self._probe = asyncio.create_task(self._probed())
        moves = await asyncio.shield(self._probe)
        return self.pool.ready and (moves or time.monotonic() - self.pool.moved < MOVED_S)

    async def _probed(self) -> bool:
        names = [next(iter(self.served.tasks))]
        waiting = _Waiting(self.queue, [{"text": "ready?"}], names, PROBE_S)
        try:
            self.queue.put(waiting.units)
            return (await asyncio.wait_for(waiting.answers(), PROBE_S))[0] is not None
        except (FullError, HTTPException, TimeoutError):
            return False


def full(retry_after_s: float, why: str = "too much waits already") -> HTTPException:
    """The answer to a request that there is no room for."""
    seconds = math.ceil(retry_after_s)
    return HTTPException(429, f"{why}; try again in {seconds} s", {"Retry-After": str(seconds)})


class _Waiting:
    """The rows of one request on their way."""

    def __init__(self, queue: Queue, rows: Sequence[Mapping[str, Any]], names: Sequence[str], within_s: float) -> None:
        """To be made on the event loop."""
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._lock = threading.Lock()
        self._answers: list[dict[str, Any] | None] = [None] * len(rows)
        self._left = len(rows)
        self._fate: Fate | None = None
        """Of the request, when it cannot be answered."""
        deadline = time.monotonic() + within_s
        self.units = [
            Unit(row, names, estimated_tokens(row), deadline, partial(self._done, i)) for i, row in enumerate(rows)
        ]
        if not rows:
            self._over.set()

    @property
    def queue_s(self) -> float:
        """The longest time of a row in the queue."""
        return max((unit.started - unit.arrived for unit in self.units), default=0.0)

    async def answers(self) -> list[dict[str, Any] | None]:
        """Of all rows; None for one that no worker survived. Raises HTTPException as soon as one row is late or dropped."""
        await self._over.wait()
        if self._fate is Fate.LATE:
            raise HTTPException(503, "the deadline passed; send fewer rows at once, or later", {"Retry-After": "1"})
        if self._fate is Fate.GONE:
            raise HTTPException(LEFT, "the client has gone")
        return self._answers

    def drop(self) -> None:
        """Nobody waits for the answers: let no row cost anything more."""
        self._queue.drop(self.units)

    def _done(self, i: int, answer: dict[str, Any] | Fate) -> None:
        """From any thread."""
        with self._lock:
            self._left -= 1
            failed = False
            if isinstance(answer, dict):
                self._answers[i] = answer
            elif answer is not Fate.DEADLY and self._fate is None:
                self._fate, failed = answer, True
            over = self._left == 0 or failed
        if failed:
            self.drop()  # the others of its rows are told that they are gone, by way of here
        if over:
            with suppress(RuntimeError):  # the loop has been closed: nobody waits
                self._loop.call_soon_threadsafe(self._over.set)


async def _unless_left(waiting: _Waiting, request: Request) -> list[dict[str, Any] | None]:
    """The answers. When the client leaves before, its rows are dropped from the queue."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue
        waiting.drop()

    left = asyncio.ensure_future(watch())
    try:
        return await waiting.answers()
    finally:
        left.cancel()
        waiting.drop()


def _object(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise RowError(f"a row must be a text or an object with 'text', seen {type(row).__name__}")
    return row


def _head(row: Any) -> dict[str, Any]:
    return {"id": row["id"]} if isinstance(row, Mapping) and "id" in row else {}
