"""A server from settings: checks what can be checked at once, listens, and serves until it is told to stop."""

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

from manyheads.api import find_model
from manyheads.bundle import manifest_hash, read_manifest
from manyheads.bundle.manifest import MANIFEST
from manyheads.errors import BundleError, UsageError
from manyheads.process import usable_cores
from manyheads.serve.app import build_app
from manyheads.serve.keys import Keys
from manyheads.serve.limits import Limits
from manyheads.serve.logs import log, take_over
from manyheads.serve.outside import origin, root_path
from manyheads.serve.service import Served, Service, with_forms
from manyheads.serve.worker import Crew

if TYPE_CHECKING:
    from manyheads.predict import Precision

DRAIN_S = 60
"""On top of the deadline, for rows that were begun before it."""
SETTLE_S = 0.1
"""For what clients have sent by the time that nothing more is accepted."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and from where else the server is asked."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: any that is free."""
    origins: Sequence[str] = ()
    """Of pages that browsers may let ask; `*`: all."""
    root_path: str = ""
    """Put before the routes by a proxy."""


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
    """Serve a model folder or hub id until SIGTERM or SIGINT; what was accepted by then is answered.

    `workers` processes share the cores; `telemetry` sends traces. Raises UsageError for an address that cannot be had,
    BundleError for a model.
    """
    origins, root = tuple(map(origin, address.origins)), root_path(address.root_path)
    folder = find_model(model)
    manifest = read_manifest(folder)
    written = int((folder / MANIFEST).stat().st_mtime)
    served = Served(folder.resolve().name, manifest_hash(manifest), with_forms(manifest["tasks"]), written)
    cores = usable_cores()
    count = workers or min(cores, 2)
    crew = Crew(str(folder), served.hash, count, max(1, cores // count), limits.batch_tokens, precision)
    service = Service(served, crew, limits)
    listening = listen(address)
    host, port = listening.getsockname()[:2]
    take_over()
    log("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", model=str(folder), hash=served.hash,
        tasks=list(served.tasks), workers=count, threads=crew.threads, precision=precision, keys=bool(keys))  # fmt: skip
    app: ASGIApp = build_app(service, keys, origins=origins, root_path=root)
    if telemetry:
        from manyheads.serve.telemetry import traced

        app = traced(app)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, ws="none",
                            timeout_graceful_shutdown=math.ceil(limits.deadline_s) + DRAIN_S)  # fmt: skip
    _Server(config, service).run(sockets=[listening])
    log("stopped")
    if service.pool.hopeless is not None:
        raise BundleError(f"no worker could be started: {service.pool.hopeless}")


def listen(address: Address) -> socket.socket:
    """A socket that listens. Raises UsageError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listening = socket.create_server((address.host, address.port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot listen on {address.host}:{address.port} ({reason}); give another --host or --port"
        ) from None
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, which those of create_server do not:
    # an answer's body then waits 40 ms for the client to acknowledge its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class _Server(uvicorn.Server):
    """uvicorn, with the beginning and the end as they are wanted here."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop: also when the model cannot be loaded at all."""
        return await super().on_tick(counter) or self.service.pool.hopeless is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept what has connected already, which would be reset when nobody listens any more; then as uvicorn does."""
        self.service.draining = True
        waiting: list[socket.socket] = []
        for listening in sockets or []:
            listening.setblocking(False)
            try:
                while True:
                    waiting.append(listening.accept()[0])
            except OSError:  # there are no more
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
        """uvicorn raises the signal again when it has stopped; here a server that was told to stop has done its work."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
