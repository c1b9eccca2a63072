"""The routes of the V2 protocol.

Decided here: a model has one version, `1`, whatever its folder holds; the hash of what answered is a parameter of the
response. A model that loads on demand is ready before it is loaded, since clients ask for that before they send a request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from manyheads import __version__
from manyheads.serve.catalog import Catalog
from manyheads.serve.errors import InternalRowError, InvalidRequestError, UnknownModelError
from manyheads.serve.middleware import Front
from manyheads.serve.responses import JSON
from manyheads.serve.routes import disconnected, headers_of, read_body
from manyheads.serve.served_model import ServedModel
from manyheads.serve.service import Service
from manyheads.serve.v2.tensors import HEADER, InferRequest, read_request, texts_tensor, vectors_tensor

VERSION = "1"
INPUTS = ("text", "question", "text_pair", "query", "prompt_name", "input_type")
"""Keys of rows that may be given as tensors; `text` must be."""
EXTENSIONS = ("binary_tensor_data", "model_repository")


def v2_routes(catalog: Catalog, front: Front) -> APIRouter:
    """All of them. They are not in the OpenAPI schema: clients know the protocol."""
    router = APIRouter(prefix="/v2", include_in_schema=False)
    _add_server(router, catalog, front)
    _add_repository(router, catalog)
    for prefix in ("/models/{name}", "/models/{name}/versions/{version}"):
        _add_model(router, prefix, catalog)
    return router


def _add_server(router: APIRouter, catalog: Catalog, front: Front) -> None:
    @router.get("")
    async def server() -> Response:
        """The server and the extensions it has."""
        return JSON({"name": "manyheads", "version": __version__, "extensions": EXTENSIONS})

    @router.get("/health/live")
    async def live() -> Response:
        """Whether the process is running."""
        return JSON({"live": True})

    @router.get("/health/ready")
    async def ready() -> Response:
        """Whether all models can answer."""
        answers = []
        for model in catalog.models:
            with catalog.use(model.name) as service:
                answers.append(await service.is_ready())
        is_ready = all(answers) and not front.draining
        return JSON({"ready": is_ready}, 200 if is_ready else 503)


def _add_repository(router: APIRouter, catalog: Catalog) -> None:
    @router.post("/repository/index")
    async def index(request: Request) -> Response:
        """All models and whether they are loaded."""
        await read_body(request)
        states = {model.name: "READY" if catalog.is_loaded(model.name) else "UNAVAILABLE" for model in catalog.models}
        return JSON([{"name": name, "version": VERSION, "state": state, "reason": ""} for name, state in states.items()])

    @router.post("/repository/models/{name}/load")
    async def load(name: str, request: Request) -> Response:
        """Start the workers of a model, and look whether its folder was replaced."""
        await read_body(request)
        await catalog.load(name)
        return JSON({})

    @router.post("/repository/models/{name}/unload")
    async def unload(name: str, request: Request) -> Response:
        """End the workers of a model. The next request starts them again."""
        await read_body(request)
        catalog.unload(name)
        return JSON({})


def _add_model(router: APIRouter, prefix: str, catalog: Catalog) -> None:
    @router.get(prefix)
    async def metadata(name: str, version: str = VERSION) -> Response:
        """The inputs and outputs of a model."""
        with catalog.use(name) as service:
            _check_version(service.model, version)
            return JSON(_metadata(service.model))

    @router.get(f"{prefix}/ready")
    async def ready(name: str, version: str = VERSION) -> Response:
        """Whether a model can answer."""
        with catalog.use(name) as service:
            _check_version(service.model, version)
            is_ready = await service.is_ready()
        return JSON({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    @router.post(f"{prefix}/infer")
    async def infer(name: str, request: Request, version: str = VERSION) -> Response:
        """Answers of some or all tasks to each text."""
        started = time.monotonic()
        with catalog.use(name) as service:
            _check_version(service.model, version)
            service.check_room()
            asked = read_request(await read_body(request), request.headers.get(HEADER), INPUTS)
            tasks = service.model.chosen_tasks(_tasks(asked))
            reply = await service.predict(asked.rows, tasks, _min_score(asked), disconnected(request))
            return _response(asked, service, tasks, reply.outputs, headers_of(service.model, started, reply))


def _metadata(model: ServedModel) -> dict[str, Any]:
    vectors = model.tasks_with("vector")
    form = {True: {"datatype": "FP32", "shape": [-1, -1]}, False: {"datatype": "BYTES", "shape": [-1]}}
    outputs = [{"name": task, **form[task in vectors]} for task in model.tasks]
    inputs = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in INPUTS[:2]]
    return {"name": model.name, "versions": [VERSION], "platform": "manyheads", "inputs": inputs, "outputs": outputs}


def _check_version(model: ServedModel, version: str) -> None:
    if version != VERSION:
        raise UnknownModelError(f"the model {model.name!r} has no version {version[:40]!r}; it has {VERSION}")


def _tasks(asked: InferRequest) -> Sequence[str] | None:
    """The tasks that are asked for: by name in the parameters, or as outputs; None: all. Raises InvalidRequestError."""
    tasks = asked.parameters.get("tasks")
    if isinstance(tasks, str):  # a parameter may only be a string, a number or a boolean in this protocol
        tasks = [one.strip() for one in tasks.split(",") if one.strip()]
    if tasks is not None and not (isinstance(tasks, list) and all(isinstance(one, str) for one in tasks)):
        raise InvalidRequestError("the parameter tasks must be names of tasks, separated by commas")
    return tasks or list(asked.outputs) or None


def _min_score(asked: InferRequest) -> float | None:
    value = asked.parameters.get("min_score")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1):
        raise InvalidRequestError("the parameter min_score must be a number from 0 to 1")
    return value


def _response(
    asked: InferRequest, service: Service, tasks: Sequence[str], rows: Sequence[Mapping[str, Any]], headers: dict[str, str]
) -> Response:
    """The outputs as tensors. A row that could not be answered has its error in every BYTES output."""
    vectors = service.model.tasks_with("vector")
    made = [
        vectors_tensor(task, _vectors(rows, task), binary=asked.is_binary(task)) if task in vectors
        else texts_tensor(task, [_answer(row, task) for row in rows], binary=asked.is_binary(task))
        for task in tasks
    ]  # fmt: skip
    body = {
        "model_name": service.model.name, "model_version": VERSION, **({} if asked.id is None else {"id": asked.id}),
        "parameters": {"hash": service.model.hash}, "outputs": [tensor for tensor, _ in made],
    }  # fmt: skip
    if not any(asked.is_binary(task) for task in tasks):
        return JSON(body, headers=headers)
    text = json.dumps(body, separators=(",", ":"), allow_nan=False).encode("ascii")
    content = b"".join([text, *(data for _, data in made)])
    return Response(content, headers={**headers, HEADER: str(len(text))}, media_type="application/octet-stream")


def _answer(row: Mapping[str, Any], task: str) -> Any:
    """The answer of a task; null where the row has nothing for it."""
    return {"error": row["error"]} if "error" in row else row["tasks"].get(task)


def _vectors(rows: Sequence[Mapping[str, Any]], task: str) -> list[list[float]]:
    """The vector of each row. Raises RequestError: a tensor of numbers has no place for an error."""
    for i, row in enumerate(rows):
        if "error" in row:
            kind = InternalRowError if row["error"]["type"] == "internal_error" else InvalidRequestError
            raise kind(f"text {i}: {row['error']['message']}")
    return [row["tasks"][task] for row in rows]
