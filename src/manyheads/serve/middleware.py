"""What applies to every request before any route: API keys, body size, load; and to every response: headers and metrics.

Whatever can be refused is refused here, before a body is read: during an overload this keeps refusals cheap.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from manyheads.serve.errors import QueueFullError, RequestError
from manyheads.serve.keys import Keys, challenge
from manyheads.serve.proxy import strip_root_path
from manyheads.serve.responses import error_response, http_error
from manyheads.serve.service import Service

QUEUED_ROUTES = frozenset({"/v1/predict", "/v1/embeddings"})
HEADERS = [
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class ServerMiddleware:
    """The outermost layer of the application, but for CORS."""

    def __init__(self, app: ASGIApp, service: Service, keys: Keys, paths: frozenset[str], root_path: str = "") -> None:
        """`paths`: existing routes, for metrics; `root_path`: where a proxy has put them."""
        self.app = app
        self.root_path = root_path
        self.service = service
        self.keys = keys
        self.paths = paths
        self._bytes = 0
        """Of the bodies of all requests in progress."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no WebSockets
        started, status = time.monotonic(), 500
        path, scope_entries = strip_root_path(scope, self.root_path)
        is_head = scope["method"] == "HEAD"  # every GET route answers HEAD
        scope = {**scope, **scope_entries, "method": "GET" if is_head else scope["method"]}
        body = _Body(self, receive)

        async def send_response(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                close = self.service.draining or body.incomplete
                message["headers"] = [*message["headers"], *HEADERS, *([(b"connection", b"close")] if close else [])]
            elif is_head:
                message["body"] = b""
            await send(message)

        try:
            self._check(scope["method"], path, dict(scope["headers"]))
            body.complete = scope["method"] == "GET"
            await self.app(scope, body.receive, send_response)
        except (HTTPException, RequestError) as error:
            await error_response(error)(scope, receive, send_response)
        finally:
            self._bytes -= body.bytes
            route = getattr(scope.get("route"), "path", path)
            known = route if route in self.paths else "other"
            self.service.metrics.request_finished(known, status, time.monotonic() - started)

    def _check(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Raise HTTPException or QueueFullError for a request that is refused unread."""
        if not self.keys.allow(path, headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")):
            message = "an API key is required: Authorization: Bearer KEY"
            raise HTTPException(401, message, {"WWW-Authenticate": challenge(path)})
        coding = headers.get(b"content-encoding", b"").strip().lower()
        if coding not in (b"", b"identity"):
            seen = coding[:40].decode("latin-1")
            raise HTTPException(415, f"the body is compressed (Content-Encoding: {seen!r}); send it uncompressed")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.service.limits.body_bytes:
            raise self.too_large()
        if path in QUEUED_ROUTES and method == "POST":
            self.service.queue.check_room()

    def too_large(self) -> HTTPException:
        """The error for a body over the limit."""
        limit = self.service.limits.body_bytes
        return HTTPException(413, f"the body is larger than {limit:,} bytes; split it into several requests")

    def count_bytes(self, read: int) -> None:
        """Count bytes of a body. Raises HTTPException 429 if all bodies together are too large."""
        self._bytes += read
        if self._bytes > self.service.limits.all_bodies_bytes:
            raise http_error(QueueFullError(1.0))


class _Body:
    """The body of one request, read within its limits."""

    def __init__(self, middleware: ServerMiddleware, receive: Receive) -> None:
        self.middleware = middleware
        self.bytes = 0
        self.complete = False
        self.incomplete = False
        """Whether reading stopped early, so that the connection cannot be reused."""
        self._receive = receive
        self._until = asyncio.get_running_loop().time() + middleware.service.limits.body_timeout_s

    async def receive(self) -> Message:
        """The next message. Raises HTTPException, which FastAPI passes on: 413, 408, or 429 (all bodies together)."""
        if self.complete:
            return await self._receive()
        self.incomplete = True
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            limit_s = self.middleware.service.limits.body_timeout_s
            raise HTTPException(408, f"the body did not arrive within {limit_s:g} s; send it again") from None
        read = len(message.get("body", b""))
        self.bytes += read
        self.middleware.count_bytes(read)
        if self.bytes > self.middleware.service.limits.body_bytes:
            raise self.middleware.too_large()
        self.complete = not message.get("more_body", False)
        self.incomplete = False
        return message
