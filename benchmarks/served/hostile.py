"""Bodies that are no requests, and attempts to get past the keys."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from served.client import Call, run_all
from served.ours import serving

ROUTES = ("/v1/predict", "/v1/embeddings")
DOCUMENTED = {200, 401, 408, 413, 422, 429, 503}
PIECES = [None, True, 0, -1, 1e308, 2**64, "", "a", "\ud800", "\x00", "é" * 50, "a " * 500, [], {}, [[]], {"text": {}},
          {"text": "a"}, {"text": None}, {"text": "a", "question": 5}, {"tokens": []}, {"tokens": ["a", 5]}, {"tokens": "a"},
          "section", "float"]  # fmt: skip
KEYS = ["inputs", "tasks", "input", "model", "dimensions", "encoding_format", "text", "id", "\ud800", ""]
TRICKS = ["/", "/docs", "/openapi.json", "/metrics", "/v1/tasks", "/static/style.css", "/nothing", "//v1/predict",
          "/V1/PREDICT", "/v1/%70redict", "/v1/%2e%2e/v1/tasks", "/health/live/../../v1/tasks",
          "/health/live%2f..%2f..%2fv1%2ftasks", "/health/live;/v1/tasks", "/health/ready/", "//health/live",
          "/health//live", "/HEALTH/LIVE", "http://x/v1/tasks", "http://x/health/live/../../v1/tasks",
          "/v1/tasks?/health/live", "/v1/tasks#/health/live", "/v1/tasks%00", "/v1/tasks%0a",
          "/health/live%00/v1/tasks", "*", "/.", "/./v1/tasks", "/%2fv1/tasks"]  # fmt: skip
HOSTS = ["x", "localhost", "127.0.0.1", "x/health/live", "/health/live", "x:80@y", "[::1]", "", "a" * 300]
KEY = "benchmark-key-of-some-length"


def bodies(given: Namespace) -> dict[str, Any]:
    """Strange bodies on both answering routes, and schemathesis on all: statuses, and words that should not be there."""
    draw = random.Random(4)
    with serving(given.model, *given.server) as server:
        calls: list[Call] = [(server.url, ROUTES[i % 2], _body(draw)) for i in range(given.bodies)]
        heard = run_all(calls, at_once=8)
        undocumented = [call[2][:80] for call, each in zip(calls, heard, strict=True) if each.status not in DOCUMENTED]
        words = sum(b"Traceback" in each.body or b"Error:" in each.body for each in heard)
        found = {"bodies": len(calls), "statuses": dict(Counter(str(each.status) for each in heard)),
                 "undocumented": len(undocumented), "first": [repr(body) for body in undocumented[:5]], "tracebacks": words,
                 "alive": server.is_ready()}  # fmt: skip
        return {**found, "schemathesis": _schemathesis(given, server.url)}


def keys(given: Namespace) -> dict[str, Any]:
    """Every route, odd paths and hosts, without a key, with a wrong and with the right one: who got in."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys"
        file.write_text(f"{KEY}\n")
        with serving(given.model, *given.server, "--api-keys", str(file)) as server:
            wrong = ["", f"Authorization: Bearer {KEY[:-1]}", f"Authorization: Bearer {KEY}x", f"X-API-Key: {KEY.upper()}",
                     f"Authorization: Basic {KEY}", f"Cookie: key={KEY}", "X-Forwarded-For: 127.0.0.1",
                     "X-Original-URL: /health/live"]  # fmt: skip
            tried, inside = 0, []
            for path in TRICKS:
                for host in HOSTS:
                    for header in wrong:
                        for method in ("GET", "POST"):
                            tried += 1
                            status = _status(server.url, method, path, host, header)
                            if status not in (400, 401):
                                inside.append((method, path, host, header, status))
            right = Request(f"{server.url}/v1/tasks", headers={"Authorization": f"Bearer {KEY}"})
            with urlopen(right, timeout=30) as answer:
                admitted = answer.status == 200
    return {"tried": tried, "inside": len(inside), "first": inside[:5], "right_key_admitted": admitted}


def _body(draw: random.Random) -> bytes:
    value = (
        {draw.choice(KEYS): _value(draw, 3) for _ in range(draw.randrange(4))}
        if draw.random() < 0.8
        else _value(draw, 3)
    )
    body = json.dumps(value).encode()
    kind = draw.randrange(6)
    if kind == 0:
        return body[: draw.randrange(len(body) + 1)]
    if kind == 1:
        cut = draw.randrange(len(body) + 1)
        return body[:cut] + draw.randbytes(draw.randrange(1, 5)) + body[cut:]
    if kind == 2:
        return draw.choice(
            [
                b"[" * 5000,
                b'{"inputs":' * 900,
                b"9" * 5000,
                b'{"inputs": [NaN]}',
                b'{"inputs": [1e999]}',
                b"\xff" * 9,
                b"",
            ]
        )
    return body


def _value(draw: random.Random, depth: int) -> Any:
    kind = draw.random()
    if depth and kind < 0.3:
        return [_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    if depth and kind < 0.5:
        return {draw.choice(KEYS): _value(draw, depth - 1) for _ in range(draw.randrange(4))}
    return draw.choice(PIECES)


def _schemathesis(given: Namespace, url: str) -> dict[str, Any]:
    """What its command says; it may be in an environment of its own."""
    command = given.schemathesis or shutil.which("schemathesis") or str(Path(sys.executable).with_name("schemathesis"))
    if not Path(command).exists():
        return {"cannot": "schemathesis is not installed"}
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    done = subprocess.run([command, "run", f"{url}/openapi.json", "--max-examples", str(given.examples), "--checks", checks,
                           "--seed", "1", "--phases", "examples,coverage,fuzzing"], capture_output=True,
                          text=True, check=False,
                          env={**os.environ, "NO_COLOR": "1"}, cwd=tempfile.gettempdir())  # fmt: skip
    return {"exit": done.returncode, "examples_a_route": given.examples, "said": done.stdout.splitlines()[-25:]}


def _status(url: str, method: str, path: str, host: str, header: str) -> int:
    """Of one request as it is written; 0: none."""
    name, port = url.removeprefix("http://").split(":")
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Content-Length: 0",
        "Connection: close",
        header,
    ]
    try:
        with socket.create_connection((name, int(port)), timeout=30) as connection:
            connection.sendall("\r\n".join([*filter(None, lines), "", ""]).encode())
            return int(connection.recv(100).split()[1])
    except (OSError, IndexError):
        return 400
