"""A server from settings: checks what can be checked at once, listens, and serves until it is told to stop."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from manyheads.api import find_model
from manyheads.bundle import manifest_hash, read_manifest
from manyheads.errors import UsageError
from manyheads.serve.app import Served, Service, build_app
from manyheads.serve.keys import Keys
from manyheads.serve.limits import Limits
from manyheads.serve.measures import log
from manyheads.serve.pool import Crew

DRAIN_S = 60
"""For requests that were accepted before the server was told to stop."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: any that is free."""


def serve(model: str, address: Address, keys: Keys, limits: Limits, workers: int | None = None) -> None:
    """Serve a model folder or hub id until SIGTERM or SIGINT; what was accepted by then is answered.

    `workers` processes share the cores. Raises UsageError for an address that cannot be had, BundleError for a model.
    """
    folder = find_model(model)
    manifest = read_manifest(folder)
    served = Served(folder.resolve().name, manifest_hash(manifest), manifest["tasks"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = workers or min(cores, 2)
    service = Service(served, Crew(str(folder), count, max(1, cores // count), limits.batch_tokens), limits)
    listening = listen(address)
    host, port = listening.getsockname()[:2]
    log("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", model=str(folder), hash=served.hash,
        tasks=list(served.tasks), workers=count, keys=bool(keys))  # fmt: skip
    config = uvicorn.Config(build_app(service, keys), log_config=None, access_log=False, server_header=False,
                            timeout_graceful_shutdown=DRAIN_S)  # fmt: skip
    _Server(config).run(sockets=[listening])
    log("stopped")


def listen(address: Address) -> socket.socket:
    """A socket that listens. Raises UsageError."""
    try:
        return socket.create_server((address.host, address.port), family=_family(address.host), backlog=2048)
    except OSError as error:
        raise UsageError(f"cannot listen on {address.host}:{address.port} ({error.strerror or error}); give another --host "
                         "or --port") from None  # fmt: skip


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class _Server(uvicorn.Server):
    """uvicorn raises the signal again when it has stopped; here a server that was told to stop has done its work."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        import signal

        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
