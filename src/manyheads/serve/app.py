"""The web application. The event loop only reads, queues and writes; everything that computes is in the workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from manyheads import __version__
from manyheads.serve.cors import allow_origins
from manyheads.serve.errors import RequestError
from manyheads.serve.keys import Keys
from manyheads.serve.logs import error_location, log
from manyheads.serve.middleware import ServerMiddleware
from manyheads.serve.openapi import DESCRIPTION, SWAGGER_FILES, TAGS, errors, security, swagger_ui
from manyheads.serve.responses import JSON, error_response
from manyheads.serve.routes import api_routes, health_routes
from manyheads.serve.service import Service

PLAYGROUND = Path(__file__).parent / "playground"


def build_app(service: Service, keys: Keys, *, origins: tuple[str, ...] = (), root_path: str = "") -> FastAPI:
    """The application. `origins`: pages that may send requests; `root_path`: where a proxy has put it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.pool.start()
        yield
        await asyncio.to_thread(service.pool.close)

    app = FastAPI(title="manyheads", version=__version__, description=DESCRIPTION, openapi_tags=TAGS, lifespan=lifespan,
                  docs_url=None, redoc_url=None, redirect_slashes=False, default_response_class=JSON,
                  responses=errors(413))  # fmt: skip
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(RequestError, _on_request_error)
    app.add_exception_handler(StarletteHTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_exception)
    api, health = api_routes(service), health_routes(service)
    app.include_router(api, dependencies=security(keys))
    app.include_router(health)
    _add_pages(app)
    routes = [*app.routes, *api.routes, *health.routes]
    paths = frozenset(str(path) for route in routes if (path := getattr(route, "path", None)))
    app.add_middleware(ServerMiddleware, service=service, keys=keys, paths=paths, root_path=root_path)
    allow_origins(app, origins)
    return app


def _add_pages(app: FastAPI) -> None:
    """The playground at /, Swagger UI at /docs, and their files."""
    page, script = swagger_ui("API · manyheads")
    files = {path.name: path for path in PLAYGROUND.iterdir() if path.suffix in (".css", ".js", ".svg")}
    files |= {name: SWAGGER_FILES / name for name in ("swagger-ui-bundle.js", "swagger-ui.css")}

    def add(path: str, response: Callable[[], Response]) -> None:
        async def send() -> Response:
            return response()

        app.get(path, include_in_schema=False)(send)

    add("/", lambda: FileResponse(PLAYGROUND / "index.html"))
    add("/docs", lambda: HTMLResponse(page))
    add("/static/docs.js", lambda: Response(script, media_type="text/javascript"))
    for name, file in sorted(files.items()):
        add(f"/static/{name}", lambda file=file: FileResponse(file))  # type: ignore[misc]


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
    return error_response(HTTPException(422, message))


async def _on_request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError), "registered for it"
    return error_response(error)


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException), "registered for it"
    return error_response(HTTPException(error.status_code, error.detail, error.headers))


async def _on_exception(_: Request, error: Exception) -> Response:
    log("request_failed", **error_location(error))
    return error_response(HTTPException(500, "the server's log says why"))
