"""Traces for OpenTelemetry, when they are asked for: a span for each request, with its waiting time and the model's hash.

Decided here: the ASGI middleware of OpenTelemetry makes the spans, and its own variables say where they go
(`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, ...). What a span has of ours is read from the headers of the answer, so
nothing else in the server knows of it; texts and keys never come near it. Health and metrics are asked all the time and
are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from manyheads.errors import UsageError

SPARED = "health/live,health/ready,metrics,static/.*"
_TIMING = re.compile(r"(\w+);dur=([\d.]+)")


def traced(app: ASGIApp, provider: Any | None = None) -> ASGIApp:
    """The application, with a span for each request. `provider`: of tracers; one that exports over OTLP by default.

    Raises UsageError when OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        from_environment = provider or _exporting()
    except ModuleNotFoundError as error:
        raise UsageError(f'traces need {error.name}; pip install "manyheads[telemetry]"') from None
    from opentelemetry.util.http import parse_excluded_urls

    made: ASGIApp = OpenTelemetryMiddleware(
        _noting(app), excluded_urls=parse_excluded_urls(SPARED), tracer_provider=from_environment,
        exclude_spans=["receive", "send"],
    )  # fmt: skip
    return made


def _exporting() -> Any:
    """A provider that sends spans in batches, from a thread of its own, to where OpenTelemetry's variables say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "manyheads"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _noting(app: ASGIApp) -> ASGIApp:
    """The application, which puts what its answers' headers say into the span it runs in."""
    from opentelemetry import trace

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.get_current_span().set_attributes(attributes(message["headers"]))
            await send(message)

        await app(scope, receive, sent)

    return call


def attributes(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str | float]:
    """`manyheads.queue_ms`, `manyheads.total_ms` and `manyheads.model_hash` of an answer, where it has them."""
    found = {name.lower(): value.decode("latin-1") for name, value in headers}
    timing = {f"manyheads.{name}_ms": float(value) for name, value in _TIMING.findall(found.get(b"server-timing", ""))}
    return {**timing, **({"manyheads.model_hash": found[b"x-model-hash"]} if b"x-model-hash" in found else {})}
