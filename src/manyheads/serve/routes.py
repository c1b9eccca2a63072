"""The routes of the API: from the body of a request to a call of the service, and back to JSON."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response
from fastapi.routing import APIRoute

from manyheads.data.strict_json import read_json
from manyheads.serve import openapi, schema
from manyheads.serve.catalog import Catalog
from manyheads.serve.errors import UnknownModelError
from manyheads.serve.limits import estimated_tokens
from manyheads.serve.metrics import CONTENT_TYPE
from manyheads.serve.middleware import Front
from manyheads.serve.pending import Disconnected
from manyheads.serve.responses import JSON
from manyheads.serve.served_model import ServedModel
from manyheads.serve.service import Reply, Service

ERRORS = openapi.errors(401, 408, 415, 422, 429, 500, 503)
"""Of routes that answer texts."""
MAX_LEVELS = 500
"""Nesting of lists and objects in a body. Python reads 950 and writes a few less, and an id is written back."""


def api_routes(service: Service, catalog: Catalog) -> APIRouter:
    """The routes of a model that need an API key, if the server has any. `catalog`: of this model alone."""
    router = APIRouter(route_class=StrictRoute)
    _add_answers(router, service)
    _add_tasks(router, service.model)
    add_vectors(router, catalog)
    add_ranking(router, catalog)
    add_models(router, catalog)
    add_metrics(router, service)
    return router


def add_metrics(router: APIRouter, front: Front) -> None:
    """The metrics of all models of the server."""

    @router.get("/metrics", tags=["Monitoring"], summary="Metrics for Prometheus", response_class=PlainTextResponse,
                responses=openapi.errors(401), openapi_extra=openapi.response_example(
                    'manyheads_rows_total{task="entities"} 12.0\n', "text/plain"))  # fmt: skip
    async def metrics() -> Response:
        """Requests, rows, queue, passes and worker restarts, in Prometheus' text format."""
        return Response(front.metrics.render(), media_type=CONTENT_TYPE)


def health_routes(service: Service) -> APIRouter:
    """The routes that never need a key."""
    router = APIRouter(prefix="/health", tags=["Monitoring"])
    add_health(router, service.is_ready)
    return router


def add_health(router: APIRouter, is_ready: Callable[[], Awaitable[bool]]) -> None:
    """Liveness and readiness."""

    @router.get("/live", response_model=schema.HealthResponse, summary="Liveness",
                openapi_extra=openapi.response_example({"status": "live"}))  # fmt: skip
    async def live() -> Response:
        """Whether the process is running."""
        return JSON({"status": "live"})

    not_ready = {"error": {"type": "not_ready", "message": "a worker is starting, or the server is stopping"}}
    documented = openapi.errors(503)
    documented[503] |= {"description": "Not ready", "content": {"application/json": {"example": not_ready}}}

    @router.get("/ready", response_model=schema.HealthResponse, summary="Readiness", responses=documented,
                openapi_extra=openapi.response_example({"status": "ready"}))  # fmt: skip
    async def ready() -> Response:
        """Whether all workers are up and the queue moves."""
        return JSON({"status": "ready"}) if await is_ready() else JSON(not_ready, 503)


def _add_answers(router: APIRouter, service: Service) -> None:
    model = service.model

    @router.post("/v1/predict", response_model=schema.PredictResponse, tags=["Answers"], summary="Answer tasks",
                 responses=ERRORS, openapi_extra=openapi.predict_examples(model))  # fmt: skip
    async def predict(body: schema.PredictRequest, request: Request) -> Response:
        """Answers of some or all tasks to each row, in order. All tasks of a text share one encoder pass."""
        started = time.monotonic()
        reply = await service.predict(body.inputs, body.tasks, body.min_score, disconnected(request), body.labels)
        answer = {"model": model.name, "hash": model.hash, "outputs": reply.outputs}
        return JSON(answer, headers=headers_of(model, started, reply))


def add_vectors(router: APIRouter, catalog: Catalog) -> None:
    """Embeddings by OpenAI's API."""

    @router.post("/v1/embeddings", response_model=schema.EmbeddingsResponse, tags=["Answers"], summary="Embed texts",
                 responses=ERRORS, openapi_extra=openapi.embeddings_examples(catalog.ids, catalog.models))  # fmt: skip
    async def embeddings(body: schema.EmbeddingsRequest, request: Request) -> Response:
        """Vectors of texts. Compatible with OpenAI's API, so its clients work unchanged."""
        started = time.monotonic()
        rows = body.rows
        with catalog.use_task(body.model) as (service, task):
            vectors, reply = await service.embed(rows, task, body.dimensions, disconnected(request))
        data = [
            schema.Embedding(index=i, embedding=schema.encode_vector(vector, body.dimensions, body.encoding_format))
            for i, vector in enumerate(vectors)
        ]
        tokens = sum(estimated_tokens({"text": row["text"]}) for row in rows)
        usage = schema.Usage(prompt_tokens=tokens, total_tokens=tokens)
        name = body.model or service.model.task_of("vector", task)
        answer = schema.EmbeddingsResponse(data=data, model=name, usage=usage)
        return JSON(answer.model_dump(), headers=headers_of(service.model, started, reply))


def add_ranking(router: APIRouter, catalog: Catalog) -> None:
    """Ranking by the APIs of Cohere, Jina and text-embeddings-inference."""

    async def rerank(body: schema.RerankRequest, request: Request) -> Response:
        """Texts by their relevance to a query, best first. Compatible with the clients of Cohere's and Jina's APIs."""
        started, texts, shown = time.monotonic(), body.texts, body.return_documents
        with catalog.use_task(body.model) as (service, task):
            ranked, reply = await service.rank(body.query, texts, task, disconnected(request))
        results = [
            schema.RerankResult(index=i, relevance_score=score, document=schema.Document(text=texts[i]) if shown else None)
            for i, score in ranked[: body.top_n]
        ]
        tokens = sum(estimated_tokens({"query": body.query, "text": text}) for text in texts)
        answer = schema.RerankResponse(
            id=uuid4().hex, model=body.model or service.model.task_of("relevance", task), results=results,
            usage=schema.Usage(prompt_tokens=tokens, total_tokens=tokens), meta=schema.META,
        )  # fmt: skip
        return JSON(answer.model_dump(exclude_none=True), headers=headers_of(service.model, started, reply))

    @router.post("/rerank", include_in_schema=False)
    async def rerank_texts(body: schema.TextsRequest, request: Request) -> Response:
        """The same in the shape of text-embeddings-inference."""
        started = time.monotonic()
        with catalog.use_task(body.model) as (service, task):
            ranked, reply = await service.rank(body.query, body.texts, task, disconnected(request))
        found = [{"index": i, "score": score, **({"text": body.texts[i]} if body.return_text else {})} for i, score in ranked]
        return JSON(found, headers=headers_of(service.model, started, reply))

    examples = openapi.rerank_examples(catalog.ids, catalog.models)
    for path, listed in (("/v1/rerank", True), ("/v2/rerank", False)):  # the second is that of Cohere's current client
        router.post(path, response_model=schema.RerankResponse, tags=["Answers"], summary="Rank texts", responses=ERRORS,
                    include_in_schema=listed, openapi_extra=examples)(rerank)  # fmt: skip


def _add_tasks(router: APIRouter, model: ServedModel) -> None:
    tasks_body = {"model": model.name, "hash": model.hash, "tasks": dict(model.tasks)}

    @router.get("/v1/tasks", response_model=schema.TasksResponse, tags=["Model"], summary="List tasks",
                responses=openapi.errors(401), openapi_extra=openapi.response_example(tasks_body))  # fmt: skip
    async def tasks() -> Response:
        """The model's tasks with their settings and labels."""
        return JSON(tasks_body)


def add_models(router: APIRouter, catalog: Catalog) -> None:
    """The list of models by OpenAI's API."""
    listed = schema.ModelsResponse(data=list(_cards(catalog).values())).model_dump()
    key = "{model:path}" if any("/" in one for one in catalog.ids) else "{model}"

    @router.get("/v1/models", response_model=schema.ModelsResponse, tags=["Model"], summary="List models",
                responses=openapi.errors(401), openapi_extra=openapi.response_example(listed))  # fmt: skip
    async def models() -> Response:
        """The model and its embedding and ranking tasks. Compatible with OpenAI's API."""
        return JSON(schema.ModelsResponse(data=list(_cards(catalog).values())).model_dump())

    @router.get(f"/v1/models/{key}", response_model=schema.ModelCard, tags=["Model"], summary="Get a model",
                responses=openapi.errors(401, 404), openapi_extra=openapi.response_example(listed["data"][0]))  # fmt: skip
    async def get_model(model: str) -> Response:
        """One entry of `/v1/models`."""
        cards = _cards(catalog)
        if model not in cards:
            raise UnknownModelError(f"no model {model[:80]!r}; available: {', '.join(cards)}")
        return JSON(cards[model].model_dump())


def _cards(catalog: Catalog) -> dict[str, schema.ModelCard]:
    created = {model.name: model.created for model in catalog.models}
    first = next(iter(created.values()))
    return {one: schema.ModelCard(id=one, created=created.get(one.partition("/")[0], first)) for one in catalog.ids}


class _StrictRequest(Request):
    """A request whose JSON is read strictly."""

    async def json(self) -> Any:
        """Raises HTTPException 422, which FastAPI passes on."""
        try:
            return read_json(await self.body(), MAX_LEVELS)
        except ValueError as error:
            raise HTTPException(422, f"the body {error}") from None


class StrictRoute(APIRoute):
    """A route that reads such requests."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler for a strict request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return handle


async def read_body(request: Request) -> bytes:
    """The body of a request of any type. Raises HTTPException for one that another site made a browser send.

    Such a request needs no permission of the server unless it is JSON, and clients of files and of the V2 protocol send
    other types too.
    """
    json_body = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not json_body:
        raise HTTPException(422, "a page of another site may only send JSON; send Content-Type: application/json")
    return await request.body()


def disconnected(request: Request) -> Disconnected:
    """What returns once the client of a request has left."""

    async def wait() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue

    return wait


def headers_of(model: ServedModel, started: float, reply: Reply) -> dict[str, str]:
    """The model, the largest number of windows, and milliseconds; the rest of the total is passes and I/O."""
    timing = f"queue;dur={1000 * reply.queue_s:.1f}, total;dur={1000 * (time.monotonic() - started):.1f}"
    windows = [row["windows"] for row in reply.outputs if "error" not in row]
    shown = {"X-Windows": str(max(windows))} if windows else {}
    return {"X-Model-Hash": model.hash, "Server-Timing": timing, **shown}
