"""Cross-origin requests (CORS).

Decided here: no origin is allowed unless it is named. A key in a browser is a key given away, and a server without keys
would answer any page its user opens.
"""

from __future__ import annotations

import re

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from manyheads.errors import UsageError

EXPOSED_HEADERS = ("Retry-After", "Server-Timing", "X-Model-Hash", "X-Windows")
MAX_AGE_S = 600
"""How long a browser may cache a preflight response."""
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?/?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def parse_origin(value: str) -> str:
    """An origin as browsers send it, or * for all of them. Raises UsageError.

    >>> parse_origin("HTTPS://App.example.com:443/")
    'https://app.example.com'
    """
    found = _ORIGIN.fullmatch(value.lower())
    if value == "*":
        return value
    if found is None:
        raise UsageError(
            f"--allow-origin {value!r} is not an origin; write https://HOST, http://HOST:PORT, or '*' for all pages"
        )
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS[scheme] else "")


def allow_origins(app: FastAPI, origins: tuple[str, ...]) -> None:
    """Let pages of these origins send requests. Add this last: preflight requests carry no key."""
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "HEAD", "POST"],
                           allow_headers=["*"], expose_headers=list(EXPOSED_HEADERS), max_age=MAX_AGE_S)  # fmt: skip
