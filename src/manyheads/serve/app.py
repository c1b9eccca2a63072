"""The web application. The event loop only reads, queues and writes; everything that computes is in the workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from manyheads import __version__
from manyheads.serve.batch_routes import batch_routes
from manyheads.serve.batches import Batches
from manyheads.serve.catalog import OneModel, SeveralModels
from manyheads.serve.cors import allow_origins
from manyheads.serve.errors import RequestError
from manyheads.serve.keys import Keys
from manyheads.serve.logs import error_location, log
from manyheads.serve.middleware import Bodies, Front, ServerMiddleware
from manyheads.serve.models import Models
from manyheads.serve.openapi import DESCRIPTION, SWAGGER_FILES, TAGS, errors, security, swagger_ui
from manyheads.serve.responses import JSON, error_response
from manyheads.serve.root import health_of_all, index, shared_routes
from manyheads.serve.routes import api_routes, health_routes
from manyheads.serve.service import Service
from manyheads.serve.v2.routes import v2_routes
from manyheads.text.values import did_you_mean

PLAYGROUND = Path(__file__).parent / "playground"
Page = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Access:
    """Who may send requests, and to which addresses."""

    keys: Keys
    origins: tuple[str, ...] = ()
    """Pages that may send requests."""
    root_path: str = ""
    """Where a proxy has put the routes."""
    bodies: Bodies = field(default_factory=Bodies)
    """Of all applications of the server."""
    batches: Batches | None = None
    """None: without the batch API."""


def build_app(service: Service, keys: Keys, *, origins: tuple[str, ...] = (), root_path: str = "") -> FastAPI:
    """The application of one model. `origins`, `root_path`: as in `Access`."""
    return model_app(service, Access(keys, origins, root_path))


def model_app(service: Service, access: Access) -> FastAPI:
    """The routes and the playground of one model."""
    catalog = OneModel(service)
    api = api_routes(service, catalog)
    more = [] if access.batches is None else [batch_routes(access.batches)]
    return _application(service, access, [api, v2_routes(catalog, service), *more], [health_routes(service)],
                        lambda _: FileResponse(PLAYGROUND / "index.html"))  # fmt: skip


def root_app(models: Models, access: Access) -> FastAPI:
    """The routes that belong to none of several models, and a page that lists them."""
    catalog = SeveralModels(models.hosts)
    api = shared_routes(models, catalog)
    more = [] if access.batches is None else [batch_routes(access.batches)]
    return _application(models, access, [api, v2_routes(catalog, models), *more], [health_of_all(models)],
                        lambda request: index(request, catalog))  # fmt: skip


def _application(
    front: Front, access: Access, locked: Sequence[APIRouter], public: Sequence[APIRouter], first_page: Page
) -> FastAPI:
    """`locked` routes need an API key, if the server has any."""
    app = FastAPI(title="manyheads", version=__version__, description=DESCRIPTION, openapi_tags=TAGS,
                  docs_url=None, redoc_url=None, redirect_slashes=False, default_response_class=JSON,
                  responses=errors(413))  # fmt: skip
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(RequestError, _on_request_error)
    app.add_exception_handler(StarletteHTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_exception)
    for router in locked:
        app.include_router(router, dependencies=security(access.keys))
    for router in public:
        app.include_router(router)
    _add_pages(app, first_page)
    routes = [*app.routes, *(route for router in (*locked, *public) for route in router.routes)]
    paths = frozenset(str(path) for route in routes if (path := getattr(route, "path", None)))
    app.state.paths = sorted(paths)
    app.add_middleware(ServerMiddleware, front=front, keys=access.keys, paths=paths, root_path=access.root_path,
                       bodies=access.bodies)  # fmt: skip
    allow_origins(app, access.origins)
    return app


def _add_pages(app: FastAPI, first_page: Page) -> None:
    """A page at /, Swagger UI at /docs, and their files."""
    page, script = swagger_ui("API · manyheads")
    files = {path.name: path for path in PLAYGROUND.iterdir() if path.suffix in (".css", ".js", ".svg")}
    files |= {name: SWAGGER_FILES / name for name in ("swagger-ui-bundle.js", "swagger-ui.css")}

    def add(path: str, response: Page) -> None:
        async def send(request: Request) -> Response:
            return response(request)

        app.get(path, include_in_schema=False)(send)

    add("/", first_page)
    add("/docs", lambda _: HTMLResponse(page))
    add("/static/docs.js", lambda _: Response(script, media_type="text/javascript"))
    for name, file in sorted(files.items()):
        add(f"/static/{name}", lambda _, file=file: FileResponse(file))  # type: ignore[misc]


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """A body that does not follow the schema: where and what, without quoting it."""
    assert isinstance(error, RequestValidationError), "registered for it"
    if isinstance(error.body, bytes):  # not read as JSON: other sites could make a browser send such a body
        content_type = request.headers.get("content-type")
        seen = "is missing" if content_type is None else f"is {content_type[:80]!r}"
        message = f"the body's Content-Type {seen}; send Content-Type: application/json"
    else:
        problems = [f"{'.'.join(map(str, one['loc'][1:])) or 'body'}: {one['msg']}" for one in error.errors()[:5]]
        message = "; ".join(problems)[:500]
    return error_response(HTTPException(422, message), request.scope)


async def _on_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError), "registered for it"
    return error_response(error, request.scope)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException), "registered for it"
    detail, path = error.detail, request.scope["path"]
    if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        hint = did_you_mean(path[:80], request.app.state.paths)
        detail = f"there is no {path[:80]!r}{hint or ';'} /docs lists all paths"
    elif error.status_code == 405 and error.headers:
        detail = f"{path} does not take {request.method}; use {error.headers['Allow']}"
    return error_response(HTTPException(error.status_code, detail, error.headers), request.scope)


async def _on_exception(request: Request, error: Exception) -> Response:
    log("request_failed", **error_location(error))
    return error_response(HTTPException(500, "the server's log says why"), request.scope)
