"""The routes that belong to none of several models: their list, health, metrics, and requests with a model in the body."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from manyheads.serve.catalog import Catalog
from manyheads.serve.errors import UnknownModelError
from manyheads.serve.models import PREFIX, Models
from manyheads.serve.responses import JSON
from manyheads.serve.routes import StrictRoute, add_health, add_metrics, add_models, add_ranking, add_vectors

_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Models · manyheads</title>
  <link rel="icon" href="static/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="static/style.css">
</head>
<body>
  <header class="top"><div class="wide">
    <a class="mark" href="./"><img src="static/icon.svg" alt="" width="28" height="28">manyheads</a>
    <nav aria-label="Pages"><a href="./" aria-current="page">Models</a> <a href="docs">API</a></nav>
  </div></header>
  <main class="wide">
    <h1>Models</h1>
    <ul>
{models}
    </ul>
  </main>
</body>
</html>
"""


def shared_routes(models: Models, catalog: Catalog) -> APIRouter:
    """The routes that need an API key, if the server has any."""
    router = APIRouter(route_class=StrictRoute)
    add_vectors(router, catalog)
    add_ranking(router, catalog)
    add_models(router, catalog)
    add_metrics(router, models)

    async def misplaced() -> Response:
        """Where such requests belong."""
        names = ", ".join(f"{PREFIX}{model.name}" for model in catalog.models)
        raise UnknownModelError(f"this server has several models; put the path of one before this one: {names}")

    router.post("/v1/predict", include_in_schema=False)(misplaced)
    router.get("/v1/tasks", include_in_schema=False)(misplaced)

    @router.get(f"{PREFIX}{{name}}", include_in_schema=False)
    async def playground(name: str) -> Response:
        """The page of a model has relative links, which need the slash."""
        with catalog.use(name):
            return RedirectResponse(f"{name}/", 308)

    return router


def health_of_all(models: Models) -> APIRouter:
    """The routes that never need a key. Ready: no model that starts with the server is still loading."""

    async def is_ready() -> bool:
        return models.ready

    router = APIRouter(prefix="/health", tags=["Monitoring"])
    add_health(router, is_ready)
    return router


def index(request: Request, catalog: Catalog) -> Response:
    """All models: a page for browsers, JSON for others."""
    listed: list[dict[str, Any]] = [
        {"name": model.name, "hash": model.hash, "url": f"{PREFIX[1:]}{model.name}/", "loaded": catalog.is_loaded(model.name),
         "tasks": list(model.tasks)}
        for model in catalog.models
    ]  # fmt: skip
    if "text/html" not in request.headers.get("accept", ""):
        return JSON({"models": listed})
    lines = (
        f'      <li><a href="{escape(one["url"])}">{escape(one["name"])}</a>: {escape(", ".join(one["tasks"]))}'
        f'{"" if one["loaded"] else " (loads with the first request)"}</li>'
        for one in listed
    )
    return HTMLResponse(_PAGE.replace("{models}", "\n".join(lines)))
