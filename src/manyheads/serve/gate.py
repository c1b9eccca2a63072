"""What every request passes before any route: keys, the size of its body, the load; and what every answer gets.

All that can be refused is refused here, before a body is read: under an overload that is what keeps refusals cheap.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from manyheads.serve.keys import Keys, asked_for
from manyheads.serve.outside import inside
from manyheads.serve.service import Service, full

ANSWERING = frozenset({"/v1/predict", "/v1/embeddings"})
HEADERS = [
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
KINDS = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    405: "not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "compressed",
    422: "invalid_request",
    429: "queue_full",
    500: "internal_error",
    503: "deadline_passed",
}


class JSON(JSONResponse):
    """JSON in ASCII: half a surrogate pair, which JSON can hold and UTF-8 cannot, comes out as it came in."""

    def render(self, content: Any) -> bytes:
        """Bytes."""
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def refusal(error: HTTPException) -> Response:
    """The answer that says why there is none."""
    problem = {"type": KINDS.get(error.status_code, "error"), "message": str(error.detail)}
    return JSON({"error": problem}, error.status_code, error.headers)


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, service: Service, keys: Keys, paths: frozenset[str], root: str = "") -> None:
        """`paths`: the routes there are, for the account of requests; `root`: the path that a proxy has put before them."""
        self.app = app
        self.root = root
        self.service = service
        self.keys = keys
        self.paths = paths
        self._bytes = 0
        """Of the bodies of all requests that are being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # nothing else is spoken here
        started, status = time.monotonic(), 500
        path, more = inside(scope, self.root)
        head = scope["method"] == "HEAD"  # every page that can be got can be asked for its head
        scope = {**scope, **more, "method": "GET" if head else scope["method"]}
        body = _Body(self, receive)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                last = self.service.draining or body.broken
                message["headers"] = [*message["headers"], *HEADERS, *([(b"connection", b"close")] if last else [])]
            elif head:
                message["body"] = b""
            await send(message)

        try:
            headers = dict(scope["headers"])
            self._check(scope["method"], path, headers)
            body.complete = scope["method"] == "GET"
            await self.app(scope, body.receive, noted)
        except HTTPException as error:
            await refusal(error)(scope, receive, noted)
        finally:
            self._bytes -= body.bytes
            route = getattr(scope.get("route"), "path", path)
            self.service.measures.answered(
                route if route in self.paths else "other", status, time.monotonic() - started
            )

    def _check(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> None:
        if not self.keys.admit(path, headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")):
            raise HTTPException(
                401, "an API key is needed: Authorization: Bearer KEY", {"WWW-Authenticate": asked_for(path)}
            )
        coding = headers.get(b"content-encoding", b"").strip().lower()
        if coding not in (b"", b"identity"):
            seen = coding[:40].decode("latin-1")
            raise HTTPException(415, f"the body is compressed (Content-Encoding: {seen!r}); send it as it is")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.service.limits.body_bytes:
            raise self.too_large()
        if path in ANSWERING and method == "POST":
            retry_after_s = self.service.queue.full_s()
            if retry_after_s > 0:
                raise full(retry_after_s)

    def too_large(self) -> HTTPException:
        """For a body over the limit."""
        limit = self.service.limits.body_bytes
        return HTTPException(413, f"the body is larger than {limit:,} bytes; send the rows in several requests")

    def add(self, read: int) -> None:
        """Count bytes of a body. Raises HTTPException 429 where all bodies are too large together."""
        self._bytes += read
        if self._bytes > self.service.limits.bodies_bytes:
            raise full(1.0)


class _Body:
    """The body of one request as it is read, within its limits."""

    def __init__(self, gate: Gate, receive: Receive) -> None:
        self.gate = gate
        self.bytes = 0
        self.complete = False
        self.broken = False
        """Whether the rest of it must not be waited for."""
        self._receive = receive
        self._until = asyncio.get_running_loop().time() + gate.service.limits.body_s

    async def receive(self) -> Message:
        """The next message. Raises HTTPException: 413 too large, 408 too slow, 429 too much with those of others."""
        if self.complete:
            return await self._receive()
        self.broken = True
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            limit_s = self.gate.service.limits.body_s
            raise HTTPException(408, f"the body did not arrive within {limit_s:g} s; send it again") from None
        read = len(message.get("body", b""))
        self.bytes += read
        self.gate.add(read)
        if self.bytes > self.gate.service.limits.body_bytes:
            raise self.gate.too_large()
        self.complete = not message.get("more_body", False)
        self.broken = False
        return message
