"""OpenTelemetry traces, if enabled: one span per request, with its time in the queue and the model's hash.

Decided here: OpenTelemetry's ASGI middleware creates the spans, and its environment variables configure the export
(`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, ...). Our attributes are read from the response headers, so the rest of
the server does not depend on it and no text or key can end up in a span. Health checks, metrics and static files have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from manyheads.errors import UsageError

EXCLUDED_URLS = "health/live,health/ready,metrics,static/.*"
_TIMING = re.compile(r"(\w+);dur=([\d.]+)")


def traced(app: ASGIApp, provider: Any | None = None) -> ASGIApp:
    """The application with a span per request. `provider`: a tracer provider; by default one that exports over OTLP.

    Raises UsageError if OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        tracer_provider = provider or _otlp_provider()
    except ModuleNotFoundError as error:
        raise UsageError(f'traces need {error.name}; pip install "path/to/manyheads[telemetry]"') from None
    from opentelemetry.util.http import parse_excluded_urls

    traced_app: ASGIApp = OpenTelemetryMiddleware(
        _with_attributes(app), excluded_urls=parse_excluded_urls(EXCLUDED_URLS), tracer_provider=tracer_provider,
        exclude_spans=["receive", "send"],
    )  # fmt: skip
    return traced_app


def _otlp_provider() -> Any:
    """A provider that exports spans in batches, from its own thread, as OpenTelemetry's variables say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "manyheads"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _with_attributes(app: ASGIApp) -> ASGIApp:
    """The application, which copies the headers of its responses into the current span."""
    from opentelemetry import trace

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.get_current_span().set_attributes(attributes(message["headers"]))
            await send(message)

        await app(scope, receive, send_noted)

    return call


def attributes(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str | float]:
    """`manyheads.queue_ms`, `manyheads.total_ms` and `manyheads.model_hash` of a response, as far as its headers have them.

    >>> attributes([(b"X-Model-Hash", b"c168"), (b"Server-Timing", b"queue;dur=1.5, total;dur=22.0")])
    {'manyheads.queue_ms': 1.5, 'manyheads.total_ms': 22.0, 'manyheads.model_hash': 'c168'}
    """
    found = {name.lower(): value.decode("latin-1") for name, value in headers}
    timing = {f"manyheads.{name}_ms": float(value) for name, value in _TIMING.findall(found.get(b"server-timing", ""))}
    return {**timing, **({"manyheads.model_hash": found[b"x-model-hash"]} if b"x-model-hash" in found else {})}
