"""Runs a server: checks its settings, listens, and serves until it is told to stop."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp

from manyheads.devices import AUTO, gpus_of
from manyheads.errors import BundleError, UsageError
from manyheads.hub.download import model_folder
from manyheads.process import usable_cores
from manyheads.serve.app import Access, model_app, root_app
from manyheads.serve.batch_store import open_store
from manyheads.serve.batches import Batches
from manyheads.serve.cors import parse_origin
from manyheads.serve.hosted import DRAIN_S, HostedModel
from manyheads.serve.keys import Keys
from manyheads.serve.limits import Limits
from manyheads.serve.logs import capture_library_logs, log
from manyheads.serve.memory import SHARE, usable_bytes
from manyheads.serve.metrics import Metrics, Series
from manyheads.serve.models import PREFIX, Dispatcher, Models, check_names, named
from manyheads.serve.proxy import parse_root_path
from manyheads.serve.served_model import ServedModel
from manyheads.serve.worker import WorkerSettings

if TYPE_CHECKING:
    from manyheads.predict import Precision

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
    batches: Path | None = None
    """Folder for the files of the batch API; None: without it."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the workers of each model may use."""

    workers: int | None = None
    """Processes; None: one for each GPU, else 2; 1 on a single core and where there are several models."""
    precision: Precision = "auto"
    memory_gb: float | None = None
    """Of all models together, if there are several; None: 0.8 of what the machine has."""
    device: str = AUTO
    """By name. By default, a model has a worker on each GPU, or else on the CPU; several models share the GPUs in turn."""


def serve(
    models: Sequence[str], address: Address, keys: Keys, limits: Limits, resources: Resources, *, telemetry: bool = False
) -> None:
    """Serve model folders or hub ids until SIGTERM or SIGINT; requests accepted by then are answered.

    `models`: PLACE or NAME=PLACE; `telemetry` exports traces. Raises UsageError for an address that cannot be used and for
    names that clash, BundleError for a model.
    """
    access = Access(keys, tuple(map(parse_origin, address.origins)), parse_root_path(address.root_path))
    with nullcontext() if address.batches is None else open_store(address.batches) as store:
        batches = None if store is None else Batches(store)
        _serve(models, address, replace(access, batches=batches), limits, resources, telemetry)


def _serve(
    models: Sequence[str], address: Address, access: Access, limits: Limits, resources: Resources, telemetry: bool
) -> None:
    served = _models(models, limits, resources, access)
    listening = listen(address)
    host, port = listening.getsockname()[:2]
    capture_library_logs()
    facts = _facts(served)
    log("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", **facts,
        device=resources.device, precision=resources.precision, keys=bool(access.keys))  # fmt: skip
    app: ASGIApp = Dispatcher(served, root_app(served, access) if served.several else None, access.root_path)
    if access.batches is not None:
        access.batches.app, access.batches.is_calm = app, lambda: served.calm
    if telemetry:
        from manyheads.serve.telemetry import traced

        app = traced(app)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, ws="none",
                            timeout_graceful_shutdown=math.ceil(limits.deadline_s) + DRAIN_S)  # fmt: skip
    _Server(config, served, access.batches).run(sockets=[listening])
    log("stopped")
    if served.startup_error is not None:
        raise BundleError(f"no worker could be started: {served.startup_error}")


def _models(arguments: Sequence[str], limits: Limits, resources: Resources, access: Access) -> Models:
    """The models by their names, none of them loaded. Raises UsageError, BundleError."""
    folders = [(name, model_folder(place)) for name, place in named(arguments)]
    names = [(name or folder.resolve().name, folder) for name, folder in folders]
    several = len(names) > 1
    if several:
        check_names(names)
    cores = usable_cores()
    series = Series(several=several)
    hosts = []
    for i, (name, folder) in enumerate(names):
        model = ServedModel.read(folder, name)
        gpus = gpus_of(resources.device, exported=model.exported)
        count = resources.workers or (1 if several else gpus or min(cores, 2))
        threads = max(1, cores // (count * len(names)))
        settings = WorkerSettings(str(folder), model.hash, count, threads, limits.batch_tokens, resources.precision,
                                  resources.device, number=i * count)  # fmt: skip
        own = replace(access, root_path=f"{access.root_path}{PREFIX}{name}", batches=None) if several else access
        hosts.append(HostedModel(model, settings, limits, Metrics(series, name), partial(model_app, access=own)))
    bound = resources.memory_gb * 1e9 if resources.memory_gb is not None else SHARE * usable_bytes()
    return Models(hosts, limits, Metrics(series), int(bound))


def _facts(served: Models) -> dict[str, Any]:
    """What the log says about the models."""
    workers = served.hosts[0].workers
    each = {"workers": workers.workers, "threads": workers.threads}
    if served.several:
        return {"models": {host.name: str(host.folder) for host in served.hosts}, **each}
    model = served.hosts[0].current.service.model
    return {"model": str(served.hosts[0].folder), "hash": model.hash, "tasks": list(model.tasks), **each}


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

    def __init__(self, config: uvicorn.Config, models: Models, batches: Batches | None) -> None:
        super().__init__(config)
        self.models, self.batches = models, batches

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also continue the batches of the server before."""
        await super().startup(sockets)
        if self.batches is not None:
            self.batches.resume()

    def _handle_hangup(self, *_: object) -> None:
        """Look at the model folders at once. Runs in the loop's thread, between two of its steps."""
        self.models.check_now()

    async def on_tick(self, counter: int) -> bool:
        """Also stop if no worker can load the model."""
        return await super().on_tick(counter) or self.models.startup_error is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept pending connections, which closing the socket would reset; then shut down as uvicorn does."""
        self.models.draining = True
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
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._handle_hangup)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
