"""What stands between the server and who asks: pages of other origins in browsers, and proxies that put it below a path.

Decided here: no origin is allowed unless it is named, for a key in a browser is a key given away, and a server without keys
would answer any page its user opens. A root path may be there or not in what comes: some proxies strip it, some do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Scope

from manyheads.errors import UsageError

EXPOSED = ("Retry-After", "Server-Timing", "X-Model-Hash", "X-Windows")
"""Headers of answers that pages may read."""
KEPT_S = 600
"""For so long a browser need not ask again whether it may."""
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?/?")
_ROOT = re.compile(r"(?:/[\w.~-]+)+")
_PORTS = {"http": "80", "https": "443"}


def origin(given: str) -> str:
    """An origin as browsers send it, or * for all of them. Raises UsageError."""
    found = _ORIGIN.fullmatch(given.lower())
    if given == "*":
        return given
    if found is None:
        raise UsageError(
            f"--allow-origin {given!r} is no origin; write https://HOST, http://HOST:PORT, or '*' for all pages"
        )
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + (f":{port}" if port and port != _PORTS[scheme] else "")


def root_path(given: str) -> str:
    """The path that a proxy has put before ours, without a slash at its end. Raises UsageError."""
    path = given.rstrip("/")
    if path and not (_ROOT.fullmatch(path) and not {".", ".."} & set(path.split("/"))):
        raise UsageError(f"--root-path {given!r} is no path; write it as in --root-path /models/demo")
    return path


def allow(app: FastAPI, origins: tuple[str, ...]) -> None:
    """Let pages of these origins ask. To be added last: whether they may is answered before any key is looked for."""
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "HEAD", "POST"],
                           allow_headers=["*"], expose_headers=list(EXPOSED), max_age=KEPT_S)  # fmt: skip


def inside(scope: Scope, root: str) -> tuple[str, Mapping[str, Any]]:
    """The path of a request below the root path, and what its scope has to say of it."""
    path: str = scope["path"]
    if not root:
        return path, {}
    own = path[len(root) :] if path.startswith(f"{root}/") else path
    return own, {"path": root + own, "root_path": root, "raw_path": (root + own).encode(errors="surrogateescape")}
