"""The routes. Everything that computes is in the workers: the event loop only reads, queues and writes."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from manyheads.errors import RowError
from manyheads.serve.keys import Keys
from manyheads.serve.limits import Limits, estimated_tokens
from manyheads.serve.measures import CONTENT_TYPE, Measures
from manyheads.serve.pool import Crew, Pool
from manyheads.serve.queue import Fate, FullError, Queue, Unit
from manyheads.serve.schema import (
    Embedding,
    EmbeddingsRequest,
    EmbeddingsResponse,
    ErrorResponse,
    PredictRequest,
    PredictResponse,
    Usage,
    encoded,
)

PLAYGROUND = Path(__file__).parent / "playground"
PROBE_S = 1.0
"""A row of the readiness check must be answered, or wait behind others, for no longer."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Served:
    """The model behind a server: what its answers carry."""

    name: str
    hash: str
    tasks: Mapping[str, Mapping[str, Any]]
    """Each task as the manifest has it."""

    def of_type(self, kind: str) -> list[str]:
        """Names of the tasks of a type."""
        return [name for name, task in self.tasks.items() if task["type"] == kind]


class JSON(Response):
    """JSON in ASCII: half a surrogate pair, which JSON can hold and UTF-8 cannot, comes out as it came in."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Bytes."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


class Service:
    """A queue, its workers, and the model they serve."""

    def __init__(self, served: Served, crew: Crew, limits: Limits) -> None:
        """Nothing is started yet."""
        self.served = served
        self.limits = limits
        self.queue = Queue(batch_tokens=limits.batch_tokens, most_tokens=limits.queue_tokens, wait_s=limits.wait_s)
        self.measures = Measures(self.queue)
        self.pool = Pool(crew, self.queue, self.measures)

    async def answer(self, rows: Sequence[Any], names: Sequence[str], request: Request | None) -> list[dict[str, Any]]:
        """Output rows, in order. Raises HTTPException 429 for a full queue and 503 for a deadline."""
        units: list[Unit] = []
        futures: list[asyncio.Future[dict[str, Any] | Fate]] = []
        outputs: dict[int, dict[str, Any]] = {}
        deadline = time.monotonic() + self.limits.deadline_s
        loop = asyncio.get_running_loop()
        places = []
        for i, given in enumerate(rows):
            row = {"text": given} if isinstance(given, str) else given
            try:
                self.limits.check_row(_object(row))
            except RowError as error:
                outputs[i] = {**_head(row), "error": {"type": "invalid_row", "message": str(error)}}
                continue
            future: asyncio.Future[dict[str, Any] | Fate] = loop.create_future()
            units.append(Unit(row, names, estimated_tokens(row), deadline, partial(_settle, loop, future)))
            futures.append(future)
            places.append(i)
        try:
            self.queue.put(units)
        except FullError as error:
            seconds = str(math.ceil(error.retry_after_s))
            raise HTTPException(429, f"{self.queue.tokens:,} tokens wait already; try again in {seconds} s",
                                {"Retry-After": seconds}) from None  # fmt: skip
        for i, answer in zip(places, await _unless_gone(units, futures, request), strict=True):
            if answer in (Fate.LATE, Fate.GONE):
                raise HTTPException(503, f"not answered within {self.limits.deadline_s:g} s", {"Retry-After": "1"})
            outputs[i] = answer if isinstance(answer, dict) else _failed(rows[i])
        answered = [outputs[i] for i in range(len(rows))]
        self.measures.rows(answered, names)
        return answered

    async def is_ready(self) -> bool:
        """Whether all workers are there and a row comes back through the queue, or waits behind others' rows."""
        if not self.pool.ready:
            return False
        loop = asyncio.get_running_loop()
        future: asyncio.Future[dict[str, Any] | Fate] = loop.create_future()
        name = next(iter(self.served.tasks))
        probe = Unit({"text": "ready?"}, [name], 1, time.monotonic() + PROBE_S, partial(_settle, loop, future))
        try:
            self.queue.put([probe])
            return isinstance(await asyncio.wait_for(future, PROBE_S), dict) and self.pool.ready
        except FullError:
            return self.pool.ready
        except TimeoutError:
            return self.pool.ready and len(self.queue) > 1


def build_app(service: Service, keys: Keys) -> FastAPI:
    """The application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.pool.start()
        yield
        await asyncio.to_thread(service.pool.close)

    app = FastAPI(title="manyheads", description="One text encoder, many heads.", lifespan=lifespan, docs_url=None,
                  redoc_url=None, default_response_class=JSON, responses=_problems(401, 413, 422))  # fmt: skip
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(Exception, _broken)
    _add_answers(app, service)
    _add_state(app, service)
    _add_pages(app)
    app.add_middleware(_Gate, service=service, keys=keys)
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    served, limits = service.served, service.limits

    @app.post("/v1/predict", response_model=PredictResponse, responses=_problems(429, 503))
    async def predict(body: PredictRequest, request: Request) -> Response:
        """Answers of some or all tasks to each row, in order."""
        _check_rows(len(body.inputs), limits)
        names = list(dict.fromkeys(body.tasks)) if body.tasks is not None else list(served.tasks)
        unknown = [name for name in names if name not in served.tasks]
        if unknown:
            raise HTTPException(422, f"the model has no task {unknown[0]!r}; its tasks are {', '.join(served.tasks)}")
        started = time.monotonic()
        outputs = await service.answer(body.inputs, names, request)
        return JSON({"model": served.name, "hash": served.hash, "outputs": outputs}, headers=_timing(served, started))

    @app.post("/v1/embeddings", response_model=EmbeddingsResponse, responses=_problems(429, 503))
    async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
        """Vectors, as OpenAI's clients ask for them."""
        texts = [body.input] if isinstance(body.input, str) else body.input
        if not texts:
            raise HTTPException(422, "input is empty; give a text or a list of texts")
        _check_rows(len(texts), limits)
        name = _embedding_task(served, body.model)
        started = time.monotonic()
        rows = await service.answer([{"text": text} for text in texts], [name], request)
        for i, row in enumerate(rows):
            if "error" in row:
                raise HTTPException(422, f"input {i}: {row['error']['message']}")
        vectors = [row["tasks"][name] for row in rows]
        if body.dimensions is not None and body.dimensions > len(vectors[0]):
            raise HTTPException(422, f"dimensions is {body.dimensions}, but vectors have {len(vectors[0])}")
        data = [
            Embedding(index=i, embedding=encoded(v, body.dimensions, body.encoding_format))
            for i, v in enumerate(vectors)
        ]
        tokens = sum(estimated_tokens({"text": text}) for text in texts)
        usage = Usage(prompt_tokens=tokens, total_tokens=tokens)
        answer = EmbeddingsResponse(data=data, model=body.model or name, usage=usage)
        return JSON(answer.model_dump(), headers=_timing(served, started))

    @app.get("/v1/tasks")
    async def tasks() -> Response:
        """The model's tasks with their settings and labels."""
        return JSON({"model": served.name, "hash": served.hash, "tasks": dict(served.tasks)})


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health/live")
    async def live() -> Response:
        """Whether the process lives."""
        return JSON({"status": "live"})

    @app.get("/health/ready", responses=_problems(503))
    async def ready() -> Response:
        """Whether all workers are there and the queue moves."""
        if await service.is_ready():
            return JSON({"status": "ready"})
        return JSON({"error": {"type": "not_ready", "message": "a worker is starting"}}, 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.measures.text(), media_type=CONTENT_TYPE)


def _add_pages(app: FastAPI) -> None:
    def page(name: str) -> Callable[[], Any]:
        async def send() -> FileResponse:
            return FileResponse(PLAYGROUND / name)

        return send

    app.get("/", include_in_schema=False)(page("index.html"))
    app.get("/docs", include_in_schema=False)(page("docs.html"))
    for path in sorted(PLAYGROUND.iterdir()):
        if path.suffix in (".css", ".js", ".svg"):
            app.get(f"/static/{path.name}", include_in_schema=False)(page(path.name))


class _Gate:
    """Before every route: keys, the size of the body, headers of pages, and the account of what was answered."""

    def __init__(self, app: ASGIApp, service: Service, keys: Keys) -> None:
        self.app = app
        self.service = service
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 500
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        limit = self.service.limits.body_bytes
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(413, _too_large(limit))
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    *((k.lower().encode(), v.encode()) for k, v in HEADERS.items()),
                ]
            await send(message)

        try:
            if not self.keys.admit(scope["path"], headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")):
                problem = {"type": "unauthorized", "message": "an API key is needed: Authorization: Bearer KEY"}
                await JSON({"error": problem}, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, noted)
            elif length.isdigit() and int(length[:20]) > limit:
                await JSON({"error": {"type": "too_large", "message": _too_large(limit)}}, 413)(scope, receive, noted)
            else:
                await self.app(scope, counted, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.service.measures.answered(route, status, time.monotonic() - started)


async def _unless_gone(
    units: Sequence[Unit], futures: Sequence[asyncio.Future[dict[str, Any] | Fate]], request: Request | None
) -> list[dict[str, Any] | Fate]:
    """The answers; when the client leaves before, its rows are dropped from the queue."""
    left = asyncio.ensure_future(_mark_gone(request, units)) if request is not None and units else None
    try:
        return list(await asyncio.gather(*futures))
    finally:
        if left is not None:
            left.cancel()


async def _mark_gone(request: Request, units: Sequence[Unit]) -> None:
    """Wait for the client to leave; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
    for unit in units:
        unit.gone = True


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[dict[str, Any] | Fate], answer: dict[str, Any] | Fate
) -> None:
    """Give a future its answer, from any thread."""

    def settle() -> None:
        if not future.done():
            future.set_result(answer)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def _object(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise RowError(f"a row must be a text or an object with 'text', seen {type(row).__name__}")
    return row


def _head(row: Any) -> dict[str, Any]:
    return {"id": row["id"]} if isinstance(row, Mapping) and "id" in row else {}


def _failed(row: Any) -> dict[str, Any]:
    message = "this row could not be answered: the worker ended over it"
    return {**_head(row), "error": {"type": "internal_error", "message": message}}


def _check_rows(rows: int, limits: Limits) -> None:
    if rows > limits.rows:
        raise HTTPException(422, f"{rows:,} rows in one request, at most {limits.rows:,} are taken; send several")


def _embedding_task(served: Served, model: str) -> str:
    names = served.of_type("sentence-embedding")
    if not names:
        raise HTTPException(422, "the model has no sentence-embedding task")
    if len(names) > 1 and model not in names:
        raise HTTPException(422, f"the model has several embedding tasks; give one of {', '.join(names)} as model")
    return model if model in names else names[0]


def _timing(served: Served, started: float) -> dict[str, str]:
    return {"X-Model-Hash": served.hash, "Server-Timing": f"total;dur={1000 * (time.monotonic() - started):.1f}"}


def _too_large(limit: int) -> str:
    return f"the body is larger than {limit:,} bytes; send the rows in several requests"


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorResponse} for status in statuses}


async def _invalid(_: Request, error: Exception) -> Response:
    """A body that does not follow the schema: where and what, without what was sent."""
    assert isinstance(error, RequestValidationError), "registered for it"
    problems = [
        f"{'.'.join(map(str, problem['loc'][1:])) or 'body'}: {problem['msg']}" for problem in error.errors()[:5]
    ]
    return JSON({"error": {"type": "invalid_request", "message": "; ".join(problems)[:500]}}, 422)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException), "registered for it"
    kinds = {400: "invalid_request", 404: "not_found", 405: "not_allowed", 413: "too_large", 422: "invalid_request",
             429: "queue_full", 503: "deadline_passed"}  # fmt: skip
    problem = {"type": kinds.get(error.status_code, "error"), "message": str(error.detail)}
    return JSON({"error": problem}, error.status_code, error.headers)


async def _broken(_: Request, error: Exception) -> Response:
    from manyheads.serve.measures import log

    log("request_failed", type=type(error).__name__)
    return JSON({"error": {"type": "internal_error", "message": "the server's log says why"}}, 500)
