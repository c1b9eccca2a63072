"""Pages in a real Chromium, and applications behind a real socket."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI application behind uvicorn in a thread; its address."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none", interface="asgi3"))
    server.capture_signals = nothing  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()


@contextmanager
def nothing() -> Iterator[None]:
    yield


@contextmanager
def opened(browser: Browser, url: str, *, styled: bool = False, **settings: Any) -> Iterator[Page]:
    """A page that must request nothing from elsewhere and log nothing but error statuses, which the browser logs by itself.

    `styled`: its scripts may set style attributes.
    """
    context = browser.new_context(
        **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **settings}
    )
    page = context.new_page()
    page.set_default_timeout(10_000)
    # The first page waits for the browser: on a busy machine 10 s were too few.
    page.set_default_navigation_timeout(60_000)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        page.goto(url)
        yield page
        assert page.evaluate("window.harmed") is None
        assert styled or page.evaluate("[...document.querySelectorAll('[style]')].length") == 0
        assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        assert {re.match(r"\w+://[^/]+", one)[0] for one in asked} == {re.match(r"\w+://[^/]+", url)[0]}  # type: ignore[index]
        assert [line for line in said if not line.startswith("Failed to load resource")] == []
    finally:
        context.close()
