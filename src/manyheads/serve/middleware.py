"""What applies to every request before any route: API keys, body size, load; and to every response: headers and metrics.

Whatever can be refused is refused here, before a body is read: during an overload this keeps refusals cheap.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from manyheads.serve.errors import QueueFullError, RequestError
from manyheads.serve.keys import Keys, challenge
from manyheads.serve.limits import Limits
from manyheads.serve.metrics import Metrics
from manyheads.serve.proxy import strip_root_path
from manyheads.serve.responses import V2, error_response, http_error

QUEUED_ROUTES = frozenset({"/v1/predict", "/v1/embeddings"})
INTERNAL = "manyheads.internal"
"""Entry of the scope of a request that the server makes itself; nothing from outside can set it."""
HEADERS = [
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Front(Protocol):
    """What the routes of an application stand for: a model, or the server as a whole."""

    limits: Limits
    metrics: Metrics
    draining: bool
    """Whether the server has been told to stop."""

    def check_room(self) -> None:
        """Raise QueueFullError when even the smallest request would be refused."""
        ...


@dataclass(slots=True)
class Bodies:
    """The bodies of all requests in progress, of all models."""

    bytes: int = 0


class ServerMiddleware:
    """The outermost layer of an application, but for CORS."""

    def __init__(
        self, app: ASGIApp, front: Front, keys: Keys, paths: frozenset[str], root_path: str, bodies: Bodies
    ) -> None:
        """`paths`: existing routes, for metrics; `root_path`: where a proxy has put them."""
        self.app = app
        self.root_path = root_path
        self.front = front
        self.keys = keys
        self.paths = paths
        self.bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no WebSockets
        started, status = time.monotonic(), 500
        path, scope_entries = strip_root_path(scope, self.root_path)
        is_head = scope["method"] == "HEAD"  # every GET route answers HEAD
        scope = {**scope, **scope_entries, "method": "GET" if is_head else scope["method"], V2: _is_v2(path)}
        body = _Body(self, receive)

        async def send_response(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                close = self.front.draining or body.incomplete
                message["headers"] = [*message["headers"], *HEADERS, *([(b"connection", b"close")] if close else [])]
            elif is_head:
                message["body"] = b""
            await send(message)

        try:
            self._check(scope["method"], path, dict(scope["headers"]), needs_key=INTERNAL not in scope)
            body.complete = scope["method"] == "GET"
            await self.app(scope, body.receive, send_response)
        except (HTTPException, RequestError) as error:
            await error_response(error, scope)(scope, receive, send_response)
        finally:
            self.bodies.bytes -= body.bytes
            route = getattr(scope.get("route"), "path", path)
            known = route if route in self.paths else "other"
            self.front.metrics.request_finished(known, status, time.monotonic() - started)

    def _check(self, method: str, path: str, headers: Mapping[bytes, bytes], *, needs_key: bool) -> None:
        """Raise HTTPException or QueueFullError for a request that is refused unread."""
        if needs_key and not self.keys.allow(path, headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")):
            message = "an API key is required: Authorization: Bearer KEY"
            raise HTTPException(401, message, {"WWW-Authenticate": challenge(path)})
        coding = headers.get(b"content-encoding", b"").strip().lower()
        if coding not in (b"", b"identity"):
            seen = coding[:40].decode("latin-1")
            raise HTTPException(415, f"the body is compressed (Content-Encoding: {seen!r}); send it uncompressed")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.front.limits.body_bytes:
            raise self.too_large()
        if path in QUEUED_ROUTES and method == "POST":
            self.front.check_room()

    def too_large(self) -> HTTPException:
        """The error for a body over the limit."""
        limit = self.front.limits.body_bytes
        return HTTPException(413, f"the body is larger than {limit:,} bytes; split it into several requests")

    def count_bytes(self, read: int) -> None:
        """Count bytes of a body. Raises HTTPException 429 if all bodies together are too large."""
        self.bodies.bytes += read
        if self.bodies.bytes > self.front.limits.all_bodies_bytes:
            raise http_error(QueueFullError(1.0))


def _is_v2(path: str) -> bool:
    """Whether a path is of the V2 protocol, whose errors look different."""
    return path == "/v2" or (path.startswith("/v2/") and path != "/v2/rerank")


class _Body:
    """The body of one request, read within its limits."""

    def __init__(self, middleware: ServerMiddleware, receive: Receive) -> None:
        self.middleware = middleware
        self.bytes = 0
        self.complete = False
        self.incomplete = False
        """Whether reading stopped early, so that the connection cannot be reused."""
        self._receive = receive
        self._until = asyncio.get_running_loop().time() + middleware.front.limits.body_timeout_s

    async def receive(self) -> Message:
        """The next message. Raises HTTPException, which FastAPI passes on: 413, 408, or 429 (all bodies together)."""
        if self.complete:
            return await self._receive()
        self.incomplete = True
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            limit_s = self.middleware.front.limits.body_timeout_s
            raise HTTPException(408, f"the body did not arrive within {limit_s:g} s; send it again") from None
        read = len(message.get("body", b""))
        self.bytes += read
        self.middleware.count_bytes(read)
        if self.bytes > self.middleware.front.limits.body_bytes:
            raise self.middleware.too_large()
        self.complete = not message.get("more_body", False)
        self.incomplete = False
        return message
