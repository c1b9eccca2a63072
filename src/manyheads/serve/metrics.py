"""Prometheus metrics, and the log lines that go with them. Neither holds texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from manyheads.serve.logs import log
from manyheads.serve.queue import Queue
from manyheads.serve.scheduling import QueuedRow

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384)
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """Metrics of one server."""

    def __init__(self, queue: Queue) -> None:
        """Gauges read `queue` when they are scraped."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per metric that nobody uses
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("manyheads_requests", "Requests.", ["route", "status"], registry=registry)
        self._request_s = Histogram("manyheads_request_seconds", "Time to a response.", ["route"], buckets=SECONDS,
                                    registry=registry)  # fmt: skip
        self._rows = Counter("manyheads_rows", "Rows answered, by task.", ["task"], registry=registry)
        self._errors = Counter("manyheads_row_errors", "Rows with an error instead of answers.", ["type"],
                               registry=registry)  # fmt: skip
        self._wait_s = Histogram("manyheads_queue_seconds", "Time of rows in the queue.", buckets=SECONDS,
                                 registry=registry)  # fmt: skip
        self._pass_s = Histogram("manyheads_pass_seconds", "Time of passes.", buckets=SECONDS, registry=registry)
        self._pass_tokens = Histogram("manyheads_pass_tokens", "Estimated tokens of passes.", buckets=TOKENS,
                                      registry=registry)  # fmt: skip
        self._restarts = Counter("manyheads_worker_restarts", "Workers that died or could not start.",
                                 registry=registry)  # fmt: skip
        tokens = Gauge("manyheads_queue_tokens", "Estimated tokens waiting.", registry=registry)
        tokens.set_function(lambda: queue.tokens)
        rows = Gauge("manyheads_queue_rows", "Rows waiting.", registry=registry)
        rows.set_function(lambda: len(queue))

    def pass_finished(self, rows: Sequence[QueuedRow], seconds: float) -> None:
        """A worker has answered a pass."""
        self._pass_s.observe(seconds)
        self._pass_tokens.observe(sum(row.tokens for row in rows))
        for row in rows:
            self._wait_s.observe(row.started - row.arrived)

    def worker_ready(self, worker: int, seconds: float) -> None:
        """A worker has loaded the model."""
        log("worker_ready", worker=worker, seconds=round(seconds, 1))

    def worker_restarted(self, worker: int, reason: str) -> None:
        """A worker died or could not start."""
        self._restarts.inc()
        log("worker_restarted", worker=worker, reason=reason)

    def request_finished(self, route: str, status: int, seconds: float) -> None:
        """A request got its response."""
        self._requests.labels(route, str(status)).inc()
        self._request_s.labels(route).observe(seconds)
        log("request", route=route, status=status, ms=round(1000 * seconds, 1))

    def rows_answered(self, outputs: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> None:
        """Count output rows by task, and their errors by type."""
        for row in outputs:
            if "error" in row:
                self._errors.labels(row["error"]["type"]).inc()
                continue
            for name in tasks:
                if name in row["tasks"]:
                    self._rows.labels(name).inc()

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
