"""Runs a server: checks its settings, listens, and serves until it is told to stop."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from manyheads.bundle import MANIFEST, manifest_hash, read_manifest
from manyheads.errors import BundleError, UsageError
from manyheads.hub.download import model_folder
from manyheads.process import usable_cores
from manyheads.serve.app import build_app
from manyheads.serve.cors import parse_origin
from manyheads.serve.keys import Keys
from manyheads.serve.limits import Limits
from manyheads.serve.logs import capture_library_logs, log
from manyheads.serve.proxy import parse_root_path
from manyheads.serve.served_model import ServedModel, with_answer_forms
from manyheads.serve.service import Service
from manyheads.serve.worker import WorkerSettings

if TYPE_CHECKING:
    from manyheads.predict import Precision

DRAIN_S = 60
"""Time to shut down beyond the deadline, for rows started before it."""
SETTLE_S = 0.1
"""Time to read what clients sent before the server stopped listening."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens and who may reach it."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free port."""
    origins: Sequence[str] = ()
    """Origins of pages that may send requests (CORS); `*`: all."""
    root_path: str = ""
    """Path below which a proxy has put the server."""


def serve(
    model: str,
    address: Address,
    keys: Keys,
    limits: Limits,
    workers: int | None = None,
    *,
    precision: Precision = "auto",
    telemetry: bool = False,
) -> None:
    """Serve a model folder or hub id until SIGTERM or SIGINT; requests accepted by then are answered.

    `workers` processes share the cores; `telemetry` exports traces. Raises UsageError for an address that cannot be used,
    BundleError for a model.
    """
    origins, root_path = tuple(map(parse_origin, address.origins)), parse_root_path(address.root_path)
    folder = model_folder(model)
    manifest = read_manifest(folder)
    written = int((folder / MANIFEST).stat().st_mtime)
    served = ServedModel(
        folder.resolve().name, manifest_hash(manifest), with_answer_forms(manifest["tasks"]), written
    )
    cores = usable_cores()
    count = workers or min(cores, 2)
    threads = max(1, cores // count)
    settings = WorkerSettings(str(folder), served.hash, count, threads, limits.batch_tokens, precision)
    service = Service(served, settings, limits)
    listening = listen(address)
    host, port = listening.getsockname()[:2]
    capture_library_logs()
    log("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", model=str(folder), hash=served.hash,
        tasks=list(served.tasks), workers=count, threads=threads, precision=precision, keys=bool(keys))  # fmt: skip
    app: ASGIApp = build_app(service, keys, origins=origins, root_path=root_path)
    if telemetry:
        from manyheads.serve.telemetry import traced

        app = traced(app)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, ws="none",
                            timeout_graceful_shutdown=math.ceil(limits.deadline_s) + DRAIN_S)  # fmt: skip
    _Server(config, service).run(sockets=[listening])
    log("stopped")
    if service.pool.startup_error is not None:
        raise BundleError(f"no worker could be started: {service.pool.startup_error}")


def listen(address: Address) -> socket.socket:
    """A listening socket. Raises UsageError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listening = socket.create_server((address.host, address.port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot listen on {address.host}:{address.port} ({reason}); give another --host or --port"
        ) from None
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, unlike those of create_server:
    # without it the body of a response waits 40 ms for the client to acknowledge its headers.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class _Server(uvicorn.Server):
    """uvicorn with a shutdown that loses no request."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    async def on_tick(self, counter: int) -> bool:
        """Also stop if no worker can load the model."""
        return await super().on_tick(counter) or self.service.pool.startup_error is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept pending connections, which closing the socket would reset; then shut down as uvicorn does."""
        self.service.draining = True
        waiting: list[socket.socket] = []
        for listening in sockets or []:
            listening.setblocking(False)
            try:
                while True:
                    waiting.append(listening.accept()[0])
            except OSError:  # no more
                pass
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)
        await asyncio.sleep(SETTLE_S)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals without raising them again at the end, as uvicorn does: stopping on a signal is success."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
