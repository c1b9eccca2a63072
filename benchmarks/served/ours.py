"""`manyheads serve` in a process of its own: its address, its log, its memory, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from served.client import Call

PATIENCE_S = 300.0


class Server:
    """A server that was started."""

    def __init__(self, model: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "manyheads", "serve", str(model), "--port", "0", *arguments],
            stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})  # fmt: skip
        self.events: list[dict[str, Any]] = []
        """Of its log, but for requests."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = str(self.wait_for("listening")["url"])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            event = json.loads(line) if line.startswith("{") else {"event": "no json", "line": line}
            if event["event"] != "request":
                self.events.append(event)

    def wait_for(self, name: str, count: int = 1) -> dict[str, Any]:
        """The last of so many events."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and (self.process.poll() is None or self._reader.is_alive()):
            found = [event for event in self.events if event["event"] == name]
            if len(found) >= count:
                return found[-1]
            time.sleep(0.005)
        raise RuntimeError(f"the server never said '{name}': {self.events[-5:]}")

    def is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/health/ready", timeout=30):
                return True
        except (HTTPError, URLError, OSError):
            return False

    def wait_until_ready(self, ready: bool = True, within_s: float = PATIENCE_S) -> float:
        """Seconds until it is."""
        began = time.monotonic()
        while self.is_ready() is not ready:
            if time.monotonic() > began + within_s:
                raise RuntimeError(f"not {'ready' if ready else 'unready'} within {within_s} s: {self.events[-5:]}")
            time.sleep(0.02)
        return time.monotonic() - began

    def tasks(self) -> dict[str, str]:
        """The type of each task."""
        with urlopen(f"{self.url}/v1/tasks", timeout=30) as answer:
            return {name: task["type"] for name, task in json.load(answer)["tasks"].items()}

    def workers(self) -> list[int]:
        """Their processes."""
        files = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [int(child) for file in files for child in file.read_text().split()]
        return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of the process that serves and of its workers together."""
        return {"front": _resident(self.process.pid), "workers": sum(map(_resident, self.workers()))}

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


@contextmanager
def serving(model: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server that is ready; ended in any case."""
    server = Server(model, *arguments, environment=environment)
    try:
        server.wait_until_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


def predict_call(url: str, row: Any, tasks: list[str] | None = None) -> Call:
    """A request of one row."""
    body = {"inputs": [row]} | ({"tasks": tasks} if tasks else {})
    return url, "/v1/predict", json.dumps(body).encode()


def _resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)
