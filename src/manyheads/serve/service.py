"""Answers to requests: rows are checked, queued, awaited, and put back in order. Knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manyheads.errors import RowError
from manyheads.outputs.min_score import filter_by_score
from manyheads.serve.errors import InternalRowError, InvalidRequestError, RequestError
from manyheads.serve.labels import INVALID_LABELS, packed
from manyheads.serve.limits import Limits
from manyheads.serve.metrics import Metrics
from manyheads.serve.pending import Disconnected, PendingRequest
from manyheads.serve.queue import Queue
from manyheads.serve.served_model import ServedModel
from manyheads.serve.worker import WorkerSettings
from manyheads.serve.worker_pool import WorkerPool

PROBE_S = 0.5
"""Time limit for the row of a readiness check."""
STALLED_S = 10.0
"""A queue has stalled if no pass ended for this long, about what a text of 50,000 tokens takes."""
Labels = Sequence[str] | Mapping[str, str | None]
"""Names, or names with descriptions."""
CRASHED = {"error": {"type": "internal_error", "message": "this row could not be answered: it crashed the workers"}}


@dataclass(frozen=True, slots=True)
class Reply:
    """Output rows in order, and the longest time one of them waited in the queue."""

    outputs: list[dict[str, Any]]
    queue_s: float


class Service:
    """A model behind a queue and its workers."""

    def __init__(
        self, model: ServedModel, workers: WorkerSettings, limits: Limits, metrics: Metrics | None = None
    ) -> None:
        """Starts nothing."""
        self.model = model
        self.limits = limits
        self.queue = Queue(limits, workers.workers)
        self.metrics = metrics or Metrics()
        self.metrics.watch(self.queue)
        self.pool = WorkerPool(workers, self.queue, self.metrics)
        self.prepare: Callable[[], None] | None = None
        """Called before rows are queued: starts the workers, if they start on demand. May raise RequestError."""
        self.started = False
        self.draining = False
        """Set once the server has been told to stop."""
        self._probe: asyncio.Task[bool] | None = None

    def start(self) -> None:
        """Start the workers without waiting for them."""
        self.started = True
        self.pool.start()

    def close(self) -> None:
        """End the workers; rows without an answer fail. Takes up to a second."""
        self.pool.close()
        self.metrics.unwatch(self.queue)

    def check_room(self) -> None:
        """Raise QueueFullError when even the smallest request would be refused."""
        self.queue.check_room()

    async def predict(
        self,
        rows: Sequence[Any],
        tasks: Sequence[str] | None,
        min_score: float | None,
        disconnected: Disconnected,
        labels: Labels | None = None,
    ) -> Reply:
        """Answers of some or all tasks to each row, in order; a bad row has an error in its place. Raises RequestError.

        `labels`: for a task that can choose among others than its own, the only one or the only one in `tasks`.
        """
        self._check_row_count(len(rows))
        self._check_labels(labels)
        reply = await self._answer(rows, self.model.chosen_tasks(tasks), disconnected, packed(labels))
        for output in reply.outputs:
            if output.get("error", {}).get("type") == INVALID_LABELS:
                raise InvalidRequestError(output["error"]["message"])
        threshold = self.limits.min_score if min_score is None else min_score
        return Reply([filter_by_score(output, threshold) for output in reply.outputs], reply.queue_s) if threshold else reply

    async def embed(
        self, rows: Sequence[Mapping[str, Any]], model: str | None, dimensions: int | None, disconnected: Disconnected
    ) -> tuple[list[list[float]], Reply]:
        """The vector of each row, all of them or none, and the reply they come from. Raises RequestError."""
        if not rows:
            raise InvalidRequestError("input is empty; give a text or a list of texts")
        vectors, reply = await self._one_task(rows, self.model.task_of("vector", model), "input", disconnected)
        if dimensions is not None and dimensions > len(vectors[0]):
            raise InvalidRequestError(f"dimensions is {dimensions}, but vectors have {len(vectors[0])}")
        return vectors, reply

    async def rank(
        self, query: str, texts: Sequence[str], model: str | None, disconnected: Disconnected
    ) -> tuple[list[tuple[int, float]], Reply]:
        """Place and score of each text, best first, and the reply they come from. Raises RequestError."""
        if not texts or not query.strip():
            raise InvalidRequestError("documents is empty; give a list of texts" if not texts else "query is empty")
        rows = [{"query": query, "text": text} for text in texts]
        answers, reply = await self._one_task(rows, self.model.task_of("relevance", model), "document", disconnected)
        return sorted(enumerate(answer["score"] for answer in answers), key=lambda pair: -pair[1]), reply

    async def _one_task(
        self, rows: Sequence[Mapping[str, Any]], task: str, noun: str, disconnected: Disconnected
    ) -> tuple[list[Any], Reply]:
        """One task's answer to each row, all of them or none. `noun`: what a row is called in errors. Raises RequestError."""
        self._check_row_count(len(rows))
        reply = await self._answer(rows, [task], disconnected)
        for i, output in enumerate(reply.outputs):
            if "error" in output:
                kind = InternalRowError if output["error"]["type"] == "internal_error" else InvalidRequestError
                raise kind(f"{noun} {i}: {output['error']['message']}")
        return [output["tasks"][task] for output in reply.outputs], reply

    async def is_ready(self) -> bool:
        """Whether all workers are up and the queue moves: a test row or someone's rows were answered recently.

        A model that is loaded on demand is ready before that.
        """
        if self.prepare is not None and not self.started:
            return not self.draining
        if self.draining or not self.pool.ready:
            return False
        if self._probe is None or self._probe.done():  # concurrent checks share one row
            self._probe = asyncio.create_task(self._send_probe())
        answered = await asyncio.shield(self._probe)
        return self.pool.ready and (answered or time.monotonic() - self.pool.last_pass < STALLED_S)

    async def _answer(
        self, rows: Sequence[Any], tasks: Sequence[str], disconnected: Disconnected, labels: str | None = None
    ) -> Reply:
        outputs: dict[int, dict[str, Any]] = {}
        valid: dict[int, Mapping[str, Any]] = {}
        for i, value in enumerate(rows):
            row = {"text": value} if isinstance(value, str) else value
            try:
                if not isinstance(row, Mapping):
                    raise RowError(f"a row must be a text or an object with 'text', seen {type(row).__name__}")
                self.limits.check_row(row)
                valid[i] = row
            except RowError as error:
                outputs[i] = {**_id_of(row), "error": {"type": "invalid_row", "message": str(error)}}
        if self.prepare is not None:
            self.prepare()
        pending = PendingRequest(self.queue, list(valid.values()), tasks, self.limits.deadline_s, labels)
        for i, answer in zip(valid, await pending.answers(disconnected), strict=True):
            outputs[i] = {**_id_of(valid[i]), **(answer or CRASHED)}
        reply = Reply([outputs[i] for i in range(len(rows))], pending.queue_s)
        self.metrics.rows_answered(reply.outputs, tasks)
        return reply

    async def _send_probe(self) -> bool:
        try:
            pending = PendingRequest(self.queue, [{"text": "ready?"}], [next(iter(self.model.tasks))], PROBE_S)
            return (await asyncio.wait_for(pending.answers(), PROBE_S))[0] is not None
        except (RequestError, TimeoutError):
            return False

    def _check_labels(self, labels: Labels | None) -> None:
        """Raise InvalidRequestError for labels that are no texts; whether they fit a task is for the worker to say."""
        described = labels.items() if isinstance(labels, Mapping) else ((label, None) for label in labels or ())
        try:
            for label, description in described:
                self.limits.check_row({"labels": [label, description or ""]})
        except RowError as error:
            raise InvalidRequestError(str(error)) from None

    def _check_row_count(self, count: int) -> None:
        if count > self.limits.rows:
            raise InvalidRequestError(f"{count:,} rows in one request, the limit is {self.limits.rows:,}; send several")


def _id_of(row: Any) -> dict[str, Any]:
    return {"id": row["id"]} if isinstance(row, Mapping) and "id" in row else {}
