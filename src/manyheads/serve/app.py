"""The routes. Everything that computes is in the workers: the event loop only reads, queues and writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException

from manyheads.data.strict_json import read_json
from manyheads.outputs.sure import sure_of
from manyheads.serve.gate import JSON, Gate, refusal
from manyheads.serve.keys import Keys
from manyheads.serve.limits import Limits, estimated_tokens
from manyheads.serve.logs import log, place
from manyheads.serve.measures import CONTENT_TYPE
from manyheads.serve.outside import allow
from manyheads.serve.schema import (
    Embedding,
    EmbeddingsRequest,
    EmbeddingsResponse,
    ErrorResponse,
    HealthResponse,
    ModelCard,
    ModelsResponse,
    PredictRequest,
    PredictResponse,
    TasksResponse,
    Usage,
    encoded,
)
from manyheads.serve.service import Reply, Served, Service

PLAYGROUND = Path(__file__).parent / "playground"
MOST_LEVELS = 500
"""Of lists and objects in one another, in a body. Python reads 950 and writes some fewer, and an id is written again."""


def build_app(service: Service, keys: Keys, *, origins: tuple[str, ...] = (), root_path: str = "") -> FastAPI:
    """The application. `origins` of pages that may ask, `root_path` below which a proxy has put it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.pool.start()
        yield
        await asyncio.to_thread(service.pool.close)

    app = FastAPI(title="manyheads", description="One text encoder, many heads.", lifespan=lifespan, docs_url=None,
                  redoc_url=None, redirect_slashes=False, default_response_class=JSON,
                  responses=_problems(413))  # fmt: skip
    app.router.route_class = _Route
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(Exception, _broken)
    _add_answers(app, service)
    _add_models(app, service.served)
    _add_state(app, service)
    _add_pages(app)
    paths = frozenset(str(path) for route in app.routes if (path := getattr(route, "path", None)))
    app.add_middleware(Gate, service=service, keys=keys, paths=paths, root=root_path)
    allow(app, origins)
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    served, limits = service.served, service.limits

    @app.post("/v1/predict", response_model=PredictResponse, responses=_problems(401, 408, 415, 422, 429, 500, 503))
    async def predict(body: PredictRequest, request: Request) -> Response:
        """Answers of some or all tasks to each row, in order."""
        started = time.monotonic()
        _check_rows(len(body.inputs), limits)
        names = list(dict.fromkeys(body.tasks)) if body.tasks is not None else list(served.tasks)
        unknown = [name for name in names if name not in served.tasks]
        if unknown:
            raise HTTPException(422, f"no task {unknown[0][:80]!r}; the model's tasks are {', '.join(served.tasks)}")
        reply = await service.answer(body.inputs, names, request)
        least = limits.min_score if body.min_score is None else body.min_score
        outputs = [sure_of(output, least) for output in reply.outputs] if least else reply.outputs
        answer = {"model": served.name, "hash": served.hash, "outputs": outputs}
        return JSON(answer, headers=_facts(served, started, reply))

    @app.post(
        "/v1/embeddings", response_model=EmbeddingsResponse, responses=_problems(401, 408, 415, 422, 429, 500, 503)
    )
    async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
        """Vectors, as OpenAI's clients ask for them."""
        started = time.monotonic()
        texts = [body.input] if isinstance(body.input, str) else body.input
        if not texts:
            raise HTTPException(422, "input is empty; give a text or a list of texts")
        _check_rows(len(texts), limits)
        name = _embedding_task(served, body.model)
        rows = [{"text": text} for text in texts]
        reply = await service.answer(rows, [name], request)
        vectors = []
        for i, output in enumerate(reply.outputs):
            if "error" in output:
                problem = output["error"]
                raise HTTPException(
                    500 if problem["type"] == "internal_error" else 422, f"input {i}: {problem['message']}"
                )
            vectors.append(output["tasks"][name])
        if body.dimensions is not None and body.dimensions > len(vectors[0]):
            raise HTTPException(422, f"dimensions is {body.dimensions}, but vectors have {len(vectors[0])}")
        data = [
            Embedding(index=i, embedding=encoded(vector, body.dimensions, body.encoding_format))
            for i, vector in enumerate(vectors)
        ]
        tokens = sum(map(estimated_tokens, rows))
        usage = Usage(prompt_tokens=tokens, total_tokens=tokens)
        answer = EmbeddingsResponse(data=data, model=body.model or name, usage=usage)
        return JSON(answer.model_dump(), headers=_facts(served, started, reply))

    @app.get("/v1/tasks", response_model=TasksResponse, responses=_problems(401))
    async def tasks() -> Response:
        """The model's tasks with their settings and labels."""
        return JSON({"model": served.name, "hash": served.hash, "tasks": dict(served.tasks)})


def _add_models(app: FastAPI, served: Served) -> None:
    names = list(dict.fromkeys([served.name, *served.answering("vector")]))
    cards = {name: ModelCard(id=name, created=served.created) for name in names}

    @app.get("/v1/models", response_model=ModelsResponse, responses=_problems(401))
    async def models() -> Response:
        """The model and its embedding tasks, as OpenAI's clients list models."""
        return JSON(ModelsResponse(data=list(cards.values())).model_dump())

    @app.get("/v1/models/{model}", response_model=ModelCard, responses=_problems(401, 404))
    async def one(model: str) -> Response:
        """One of them."""
        if model not in cards:
            raise HTTPException(404, f"no model {model[:80]!r}; there are {', '.join(cards)}")
        return JSON(cards[model].model_dump())


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", response_model=HealthResponse)
    async def live() -> Response:
        """Whether the process lives."""
        return JSON({"status": "live"})

    @app.get("/health/ready", response_model=HealthResponse, responses=_problems(503))
    async def ready() -> Response:
        """Whether all workers are there and the queue moves."""
        if await service.is_ready():
            return JSON({"status": "ready"})
        return JSON({"error": {"type": "not_ready", "message": "a worker is starting, or the server stopping"}}, 503)

    @app.get("/metrics", response_class=PlainTextResponse, responses=_problems(401))
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


class _Request(Request):
    """A request whose JSON is read strictly."""

    async def json(self) -> Any:
        """Raises HTTPException 422."""
        try:
            return read_json(await self.body(), MOST_LEVELS)
        except ValueError as error:
            raise HTTPException(422, f"the body {error}") from None


class _Route(APIRoute):
    """A route that reads such requests."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI has it."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_Request(request.scope, request.receive))

        return handle


def _check_rows(rows: int, limits: Limits) -> None:
    if rows > limits.rows:
        raise HTTPException(422, f"{rows:,} rows in one request, at most {limits.rows:,} are taken; send several")


def _embedding_task(served: Served, model: str | None) -> str:
    names = served.answering("vector")
    if not names:
        raise HTTPException(422, "the model has no task that answers vectors")
    if len(names) > 1 and model not in names:
        raise HTTPException(422, f"the model has several embedding tasks; give one of {', '.join(names)} as model")
    return model if model is not None and model in names else names[0]


def _facts(served: Served, started: float, reply: Reply) -> dict[str, str]:
    """Which model, the most windows of a row, and milliseconds; the rest of the total are passes, and reading and writing."""
    timing = f"queue;dur={1000 * reply.queue_s:.1f}, total;dur={1000 * (time.monotonic() - started):.1f}"
    windows = [row["windows"] for row in reply.outputs if "error" not in row]
    return {
        "X-Model-Hash": served.hash,
        "Server-Timing": timing,
        **({"X-Windows": str(max(windows))} if windows else {}),
    }


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorResponse} for status in statuses}


async def _invalid(request: Request, error: Exception) -> Response:
    """A body that does not follow the schema: where and what, without what was sent."""
    assert isinstance(error, RequestValidationError), "registered for it"
    if isinstance(error.body, bytes):  # not read as JSON, which pages of others could then have a browser send
        kind = request.headers.get("content-type")
        seen = "is missing" if kind is None else f"is {kind[:80]!r}"
        return refusal(HTTPException(422, f"the body's Content-Type {seen}; send Content-Type: application/json"))
    problems = [
        f"{'.'.join(map(str, problem['loc'][1:])) or 'body'}: {problem['msg']}" for problem in error.errors()[:5]
    ]
    return refusal(HTTPException(422, "; ".join(problems)[:500]))


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException), "registered for it"
    return refusal(HTTPException(error.status_code, error.detail, error.headers))


async def _broken(_: Request, error: Exception) -> Response:
    log("request_failed", **place(error))
    return JSON({"error": {"type": "internal_error", "message": "the server's log says why"}}, 500)
