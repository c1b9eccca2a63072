"""Serving below a path of a proxy. Some proxies strip that path from requests, some leave it; both work."""

from __future__ import annotations

import re
from typing import Any

from starlette.types import Scope

from manyheads.errors import UsageError

_ROOT_PATH = re.compile(r"(?:/[\w.~-]+)+")


def parse_root_path(value: str) -> str:
    """A root path without a trailing slash. Raises UsageError.

    >>> parse_root_path("/models/demo/")
    '/models/demo'
    """
    path = value.rstrip("/")
    if path and not (_ROOT_PATH.fullmatch(path) and not {".", ".."} & set(path.split("/"))):
        raise UsageError(f"--root-path {value!r} is not a path; write it as in --root-path /models/demo")
    return path


def strip_root_path(scope: Scope, root_path: str) -> tuple[str, dict[str, Any]]:
    """The path of a request below the root path, and the entries that its scope needs."""
    path: str = scope["path"]
    if not root_path:
        return path, {}
    own = path[len(root_path) :] if path.startswith(f"{root_path}/") else path
    full = root_path + own
    return own, {"path": full, "root_path": root_path, "raw_path": full.encode(errors="surrogateescape")}
