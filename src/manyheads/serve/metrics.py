"""Prometheus metrics, and the log lines that go with them. Neither holds texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from manyheads.serve.logs import log
from manyheads.serve.queue import Queue
from manyheads.serve.scheduling import QueuedRow

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384)
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Series:
    """The metrics of one server. With several models every series has the label `model`."""

    def __init__(self, *, several: bool = False) -> None:
        """`several`: whether the server has more than one model."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per metric that nobody uses
        self.several = several
        self.registry = registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.requests = counter(*self._named("requests", "Requests.", "route", "status"))
        self.request_s = histogram(*self._named("request_seconds", "Time to a response.", "route"), buckets=SECONDS)
        self.rows = counter(*self._named("rows", "Rows answered, by task.", "task"))
        self.errors = counter(*self._named("row_errors", "Rows with an error instead of answers.", "type"))
        self.wait_s = histogram(*self._named("queue_seconds", "Time of rows in the queue."), buckets=SECONDS)
        self.pass_s = histogram(*self._named("pass_seconds", "Time of passes."), buckets=SECONDS)
        self.pass_tokens = histogram(*self._named("pass_tokens", "Estimated tokens of passes."), buckets=TOKENS)
        self.restarts = counter(*self._named("worker_restarts", "Workers that died or could not start."))
        self.queue_tokens = gauge(*self._named("queue_tokens", "Estimated tokens waiting."))
        self.queue_rows = gauge(*self._named("queue_rows", "Rows waiting."))

    def _named(self, name: str, meaning: str, *labels: str) -> tuple[str, str, tuple[str, ...]]:
        return f"manyheads_{name}", meaning, (("model",) if self.several else ()) + labels


class Metrics:
    """Metrics of one model, or of the routes that belong to no model."""

    def __init__(self, series: Series | None = None, model: str = "") -> None:
        """`model`: its name, where the server has several; empty for the routes of none."""
        self.series = series or Series()
        self._model: tuple[str, ...] = (model,) if self.series.several else ()
        self._queues: list[Queue] = []
        """Of the model's workers: two while new workers take over."""

    def watch(self, queue: Queue) -> None:
        """Have the gauges read this queue too, when they are scraped."""
        self._queues.append(queue)
        gauge = self._of(self.series.queue_tokens)
        gauge.set_function(lambda: sum(one.tokens for one in self._queues))
        self._of(self.series.queue_rows).set_function(lambda: sum(map(len, self._queues)))

    def unwatch(self, queue: Queue) -> None:
        """Leave out a queue that is gone."""
        if queue in self._queues:
            self._queues.remove(queue)

    @property
    def _named(self) -> dict[str, str]:
        return {"model": self._model[0]} if any(self._model) else {}

    def _of(self, metric: Any, *labels: str) -> Any:
        """The series with these labels."""
        values = (*self._model, *labels)
        return metric.labels(*values) if values else metric

    def pass_finished(self, rows: Sequence[QueuedRow], seconds: float) -> None:
        """A worker has answered a pass."""
        self._of(self.series.pass_s).observe(seconds)
        self._of(self.series.pass_tokens).observe(sum(row.tokens for row in rows))
        waited = self._of(self.series.wait_s)
        for row in rows:
            waited.observe(row.started - row.arrived)

    def worker_ready(self, worker: int, seconds: float) -> None:
        """A worker has loaded the model."""
        log("worker_ready", **self._named, worker=worker, seconds=round(seconds, 1))

    def worker_restarted(self, worker: int, reason: str) -> None:
        """A worker died or could not start."""
        self._of(self.series.restarts).inc()
        log("worker_restarted", **self._named, worker=worker, reason=reason)

    def request_finished(self, route: str, status: int, seconds: float) -> None:
        """A request got its response."""
        self._of(self.series.requests, route, str(status)).inc()
        self._of(self.series.request_s, route).observe(seconds)
        log("request", **self._named, route=route, status=status, ms=round(1000 * seconds, 1))

    def rows_answered(self, outputs: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> None:
        """Count output rows by task, and their errors by type."""
        for row in outputs:
            if "error" in row:
                self._of(self.series.errors, row["error"]["type"]).inc()
                continue
            for name in tasks:
                if name in row["tasks"]:
                    self._of(self.series.rows, name).inc()

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.series.registry)
