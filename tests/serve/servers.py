"""`manyheads serve` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

TESTS = Path(__file__).parents[1]
PATIENCE_S = 120.0


class Server:
    """A server that was started: its address, its log, its end."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        path = os.pathsep.join([str(TESTS / "serve" / "stub"), str(TESTS), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "manyheads", "serve", *arguments, "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        )
        self.log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = str(self.wait_for("listening")["url"])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"event": "no json", "line": line})

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The latest of so many lines of the log."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            found = [line for line in self.log if line["event"] == event]
            if len(found) >= count:
                return found[-1]
            assert self.process.poll() is None or self._reader.is_alive(), self.log
            time.sleep(0.01)
        raise AssertionError(f"no {event}: {self.log}")

    def wait_until_ready(self, ready: bool = True, within_s: float = PATIENCE_S) -> float:
        """Seconds until it is."""
        with httpx.Client(base_url=self.url, timeout=30, headers={"connection": "close"}) as client:  # made once: 20 ms
            started = time.monotonic()
            while time.monotonic() < started + within_s:
                if (client.get("/health/ready").status_code == 200) == ready:
                    return time.monotonic() - started
                time.sleep(0.02)
        raise AssertionError(f"not {'ready' if ready else 'unready'} within {within_s} s: {self.log}")

    def workers(self) -> list[int]:
        """Processes of the workers that are there."""
        mine = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [int(child) for file in mine for child in file.read_text().split()]
        return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]

    def stop(self, number: int = signal.SIGTERM, within_s: float = PATIENCE_S) -> int:
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(within_s)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


@contextmanager
def serving(model: Path, *arguments: str, stub: str = "", **environment: str) -> Iterator[Server]:
    """A server that is ready; ended in any case."""
    server = Server([str(model), *arguments], {"STUB": stub, **environment})
    try:
        server.wait_until_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


def raw(url: str, request: bytes) -> bytes:
    """What comes back over a plain socket."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        with suppress(OSError):  # the server has closed it already
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while more := connection.recv(65536):
                answer += more
        except ConnectionResetError:  # what was sent did not deserve an answer, or not to its end
            pass
        return answer
