"""Other servers on the same cores: one litserve process for each task, and infinity for embeddings."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

PATIENCE_S = 300.0


@contextmanager
def litserve(
    python: str, encoder: str, tasks: dict[str, str], threads: int, dtype: str = "float32"
) -> Iterator[dict[str, str]]:
    """URL of each task's server. `python`: of an environment with litserve, transformers and sentence-transformers."""
    commands, urls = [], {}
    for name, kind in tasks.items():
        port = free_port()
        urls[name] = f"http://127.0.0.1:{port}"
        commands.append(
            [python, str(Path(__file__).with_name("lit.py")), kind, encoder, str(port), str(threads), dtype]
        )
    with _running(commands, threads):
        for name in tasks:
            _wait_for(urls[name] + "/predict", {"text": "ready?", "question": "ready?"})
        yield urls


@contextmanager
def infinity(command: str, encoder: str, engine: str) -> Iterator[str]:
    """URL of infinity with its engine `torch` or `optimum` (ONNX), model `served`. `command`: its program.

    It runs in the encoder's folder: its ONNX engine cannot find a model by a path from the root.
    """
    port = free_port()
    arguments = [
        "v2",
        "--model-id",
        ".",
        "--served-model-name",
        "served",
        "--engine",
        engine,
        "--device",
        "cpu",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with _running([[command, *arguments]], 0, encoder):
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/embeddings", {"input": "ready?", "model": "served"})
        yield url


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def _running(commands: Sequence[Sequence[str]], threads: int, folder: str | None = None) -> Iterator[None]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    started = [
        subprocess.Popen(list(command), env=environment, stdout=subprocess.DEVNULL, start_new_session=True, cwd=folder)
        for command in commands
    ]
    try:
        yield
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its own session: its workers go with it
            process.wait()


def _wait_for(url: str, body: object) -> None:
    until = time.monotonic() + PATIENCE_S
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    while True:
        try:
            with urlopen(request, timeout=60):
                return
        except HTTPError as error:
            raise RuntimeError(f"{url}: {error.code} {error.read()[:300]!r}") from None
        except (URLError, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
