"""All models of a server: which of them are in memory, and which one a path belongs to.

Decided here: with several models, workers start at the first request of their model, or with the server as far as memory
allows. Where memory is short, the model that was used least recently and has no request in progress makes room. A model that
finds no room refuses requests with `Retry-After`, as a full queue does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from manyheads.errors import UsageError
from manyheads.serve.errors import QueueFullError
from manyheads.serve.hosted import HostedModel
from manyheads.serve.limits import Limits
from manyheads.serve.metrics import Metrics
from manyheads.serve.proxy import strip_root_path

PREFIX = "/models/"
NO_MEMORY_S = 2.0
"""Retry-After of a model that finds no room."""
_PATH = re.compile(rf"{PREFIX}([^/]+)(/.*)")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class Models:
    """The models of a server. Stands for the server as a whole where a request belongs to no model."""

    def __init__(self, hosts: Sequence[HostedModel], limits: Limits, metrics: Metrics, memory_bytes: int) -> None:
        """`metrics`: of the routes of no model; `memory_bytes`: what several models may take together. Starts nothing.

        Raises UsageError for a model that alone takes more.
        """
        self.hosts = list(hosts)
        self.limits = limits
        self.metrics = metrics
        self._memory_bytes = memory_bytes
        self._draining = False
        self._watchers: list[asyncio.Task[None]] = []
        if self.several:
            for host in hosts:
                host.make_room = self._make_room
                host.current.service.prepare = host.preparation(host.current)
                if host.expected_bytes > memory_bytes:
                    raise UsageError(f"the model '{host.name}' takes about {_gb(host.expected_bytes)}, and --memory allows "
                                     f"{_gb(memory_bytes)}; allow more, or give fewer --workers")  # fmt: skip

    @property
    def several(self) -> bool:
        """Whether models have paths of their own."""
        return len(self.hosts) > 1

    @property
    def draining(self) -> bool:
        """Whether the server has been told to stop."""
        return self._draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self._draining = value
        for host in self.hosts:
            for generation in host.generations:
                generation.service.draining = value

    @property
    def startup_error(self) -> str | None:
        """Why a server of one model cannot start."""
        return None if self.several else self.hosts[0].failed

    @property
    def calm(self) -> bool:
        """Whether no row waits."""
        return not any(len(generation.service.queue) for host in self.hosts for generation in host.generations)

    @property
    def ready(self) -> bool:
        """Whether requests are accepted: not draining, and no model that was started still loads for the first time."""
        started = [host for host in self.hosts if host.loaded]
        return not self.draining and all(host.current.service.pool.settled for host in started)

    def check_room(self) -> None:
        """The model is not known yet: its own queue decides."""

    def start(self) -> None:
        """Start what fits, and follow the folders. Needs a running event loop."""
        for host in self.hosts:
            if not self.several or self._taken() + host.expected_bytes <= self._memory_bytes:
                host.start()
        self._watchers = [asyncio.create_task(host.watch()) for host in self.hosts]

    def check_now(self) -> None:
        """Look at all folders at once."""
        for host in self.hosts:
            host.check_now()

    async def close(self) -> None:
        """End all workers."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await asyncio.gather(*(host.close() for host in self.hosts))

    def _taken(self) -> int:
        return sum(host.memory_bytes for host in self.hosts)

    def _make_room(self, wanted: HostedModel) -> None:
        """Unload models until one more fits. Raises QueueFullError if those that are left are busy."""
        others = (host for host in self.hosts if host is not wanted and host.loaded and host.idle)
        idle = sorted(others, key=lambda host: host.last_used)
        while self._taken() + wanted.expected_bytes > self._memory_bytes:
            if not idle:
                raise QueueFullError(NO_MEMORY_S, f"the models in use leave no memory for {wanted.name!r}")
            idle.pop(0).unload()


class Dispatcher:
    """The outermost application: starts and ends the models, and hands each request to the routes of its model."""

    def __init__(self, models: Models, root: ASGIApp | None, root_path: str = "") -> None:
        """`root`: the routes of no model, of a server with several; `root_path`: where a proxy has put all of them."""
        self._models = models
        self._by_name: Mapping[str, HostedModel] = {host.name: host for host in models.hosts}
        self._root = root
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or the start and end of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._root is None:
            with self._models.hosts[0].use() as generation:
                await generation.app(scope, receive, send)
        elif scope["type"] == "http":
            host, scope = self._owner(scope)
            if host is None:
                await self._root(scope, receive, send)
            else:
                with host.use() as generation:
                    await generation.app(scope, receive, send)

    def _owner(self, scope: Scope) -> tuple[HostedModel | None, Scope]:
        """The model of a path below `/models/NAME/`, and the request with its path below that."""
        path, _ = strip_root_path(scope, self._root_path)
        found = _PATH.fullmatch(path)
        host = self._by_name.get(found[1]) if found else None
        if found is None or host is None:
            return None, scope
        return host, {**scope, "path": found[2], "raw_path": found[2].encode(errors="surrogateescape")}

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            self._models.start()
            await send({"type": "lifespan.startup.complete"})
        await self._models.close()
        await send({"type": "lifespan.shutdown.complete"})


def named(arguments: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """Names and places of models from `PLACE` or `NAME=PLACE`; None: named by its folder.

    >>> list(named(["runs/demo", "mails=/srv/models/mails-7"]))
    [(None, 'runs/demo'), ('mails', '/srv/models/mails-7')]
    """
    for argument in arguments:
        name, equals, place = argument.partition("=")
        yield (name, place) if equals and _NAME.fullmatch(name) else (None, argument)


def check_names(names: Sequence[tuple[str, Any]]) -> None:
    """Raise UsageError for names that clash, or cannot be part of a path."""
    places: dict[str, Any] = {}
    for name, place in names:
        if name in places:
            raise UsageError(f"{places[name]} and {place} would both be served as '{name}'; name one of them: NAME={place}")
        if not _NAME.fullmatch(name):
            raise UsageError(f"{place} cannot be served as '{name}', which is no part of a path; name it: NAME={place}")
        places[name] = place


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
