"""Traces: a span for each request, with the waiting time and nothing of what was sent."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from manyheads.errors import UsageError
from manyheads.serve.telemetry import attributes, traced

HEADERS = {"Server-Timing": "queue;dur=1.5, total;dur=22.0", "X-Model-Hash": "abc"}


def spans(*asked: tuple[str, str]) -> list[ReadableSpan]:
    app = FastAPI()

    @app.post("/v1/predict")
    async def predict() -> Response:
        return JSONResponse({"secret answer": 1}, headers=HEADERS)

    @app.get("/health/live")
    async def live() -> Response:
        return JSONResponse({})

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))

    async def ask() -> None:
        transport = httpx.ASGITransport(traced(app, provider))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            for method, path in asked:
                await client.request(method, path, content=b"a secret text", headers={"X-API-Key": "k" * 20})

    asyncio.run(ask())
    return list(kept.get_finished_spans())


def test_a_request_has_one_span_with_its_times_and_no_text() -> None:
    (span,) = spans(("POST", "/v1/predict"))
    assert span.attributes is not None
    found = dict(span.attributes)
    assert found["manyheads.queue_ms"] == 1.5
    assert found["manyheads.total_ms"] == 22.0
    assert found["manyheads.model_hash"] == "abc"
    assert "secret" not in span.to_json()
    assert "k" * 20 not in span.to_json()


def test_what_is_asked_all_the_time_has_none() -> None:
    assert spans(("GET", "/health/live")) == []


def test_answers_without_such_headers_give_nothing() -> None:
    assert attributes([(b"content-type", b"text/html"), (b"server-timing", b"junk")]) == {}


def test_without_the_packages_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.instrumentation.asgi", None)
    with pytest.raises((UsageError, ImportError)):
        traced(FastAPI())
