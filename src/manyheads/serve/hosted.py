"""A model while it is served: loaded, replaced when its folder changes, unloaded.

Decided here: requests are answered by *generations*. A generation is one state of the folder with routes, a queue and
workers of its own, so a request ends with the model that it began with. When the manifest changes, a new generation starts
beside the current one and takes its place once all its workers are ready; the old one ends with its last request. A folder
that cannot be loaded changes nothing: it is reported, and tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from manyheads.bundle import MANIFEST
from manyheads.errors import ManyheadsError
from manyheads.serve.errors import LoadError
from manyheads.serve.limits import Limits
from manyheads.serve.logs import error_location, log
from manyheads.serve.memory import estimated_bytes, resident_bytes
from manyheads.serve.metrics import Metrics
from manyheads.serve.served_model import ServedModel
from manyheads.serve.service import Service
from manyheads.serve.worker import WorkerSettings

POLL_S = 2.0
"""How often the manifest is looked at: one call of stat."""
RETRY_S = 5.0
MAX_RETRY_S = 60.0
"""Before a folder that could not be loaded is tried again: doubled each time."""
WARM_UP_S = 900.0
"""A new generation that is not ready by then is given up."""
DRAIN_S = 60
"""Time for the last requests beyond their deadline, for rows started before it."""
STEP_S = 0.05

Stamp = tuple[int, int, int]
"""Inode, time of change in nanoseconds, and size of a manifest."""


@dataclass(slots=True, eq=False)
class Generation:
    """One state of a model folder behind its routes."""

    service: Service
    app: ASGIApp
    requests: int = 0
    """In progress."""
    leaving: bool = False
    """Whether it ends with its last request."""


class HostedModel:
    """A model by its name, whatever its folder holds at the time. All methods run in the event loop."""

    def __init__(
        self,
        model: ServedModel,
        workers: WorkerSettings,
        limits: Limits,
        metrics: Metrics,
        make_app: Callable[[Service], ASGIApp],
    ) -> None:
        """`workers`: with the folder and hash of `model`; `make_app`: its routes. Starts nothing."""
        self.name = model.name
        self.folder = Path(workers.folder)
        self.make_room: Callable[[HostedModel], None] | None = None
        """Called before workers start on a request; None: they start at once, and stay. May raise RequestError."""
        self.last_used = 0.0
        self.busy = 0
        """Reloads in progress."""
        self.workers = workers
        self._limits = limits
        self._metrics = metrics
        self._make_app = make_app
        self._stamp = stamp_of(self.folder)
        self._broken: Stamp | None = None
        self._retry_at = 0.0
        self._pause_s = RETRY_S
        self._wake = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self.retiring: set[Generation] = set()
        """Generations that answer their last requests, or warm up."""
        self.current = self._generation(model)

    @property
    def loaded(self) -> bool:
        """Whether workers hold the model, or are about to."""
        return self.current.service.started

    @property
    def failed(self) -> str | None:
        """Why its workers cannot start."""
        return self.current.service.pool.startup_error

    @property
    def idle(self) -> bool:
        """Whether it could be unloaded: no request and no reload in progress."""
        return not self.busy and not any(one.requests for one in self.generations)

    @property
    def generations(self) -> list[Generation]:
        """The current one and those beside it."""
        return [self.current, *self.retiring]

    @property
    def memory_bytes(self) -> int:
        """What its workers take: measured once they are ready, estimated before."""
        staying = (one for one in self.generations if one.requests or not one.leaving)
        started = [one.service for one in staying if one.service.started]
        return sum(max(resident_bytes(one.pool.processes), 0 if one.pool.ready else self.expected_bytes) for one in started)

    @property
    def expected_bytes(self) -> int:
        """What its workers will take."""
        return self.workers.workers * estimated_bytes(self.folder)

    @contextmanager
    def use(self) -> Iterator[Generation]:
        """The current generation, which is kept until the end of the request."""
        generation = self.current
        generation.requests += 1
        self.last_used = time.monotonic()
        try:
            yield generation
        finally:
            generation.requests -= 1

    def start(self) -> None:
        """Start the workers."""
        if not self.loaded:
            self.current.service.start()

    def unload(self) -> None:
        """End the workers once the requests in progress are answered; the next request starts them again."""
        if self.loaded:
            log("unloading", model=self.name)
            self._switch(self._generation(self.current.service.model))

    def check_now(self) -> None:
        """Look at the folder at once, also if it could not be loaded before."""
        self._wake.set()

    async def watch(self) -> None:
        """Follow the folder until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_S)
            forced = self._wake.is_set()
            self._wake.clear()
            try:
                await self._follow(forced)
            except Exception as error:  # the model that answers must not suffer
                log("reload_failed", model=self.name, **error_location(error))

    async def close(self) -> None:
        """End all workers."""
        for generation in self.generations:
            if generation.service.started:
                await asyncio.to_thread(generation.service.close)

    async def _follow(self, forced: bool) -> None:
        stamp = await asyncio.to_thread(stamp_of, self.folder)
        retry = forced or time.monotonic() >= self._retry_at
        if self.failed is not None and self.make_room is not None and retry:
            self._switch(self._generation(self.current.service.model))  # the next request tries again
        if stamp is None or stamp == self._stamp or (stamp == self._broken and not retry):
            return
        self.busy += 1
        try:
            await self._replace(stamp)
        finally:
            self.busy -= 1

    async def _replace(self, stamp: Stamp) -> None:
        """Take over what the folder holds now."""
        try:
            model = await asyncio.to_thread(ServedModel.read, self.folder, self.name)
        except (ManyheadsError, OSError) as error:
            self._report(stamp, str(error))
            return
        if model.hash != self.current.service.model.hash:
            fresh = self._generation(model)
            if self.loaded and (problem := await self._warm_up(fresh, stamp)) is not None:
                self._report(stamp, problem)
                return
            self._switch(fresh)
            log("reloaded", model=self.name, hash=model.hash)
        self._stamp, self._broken, self._pause_s = stamp, None, RETRY_S

    async def _warm_up(self, fresh: Generation, stamp: Stamp) -> str | None:
        """Start the workers of a generation and wait until all are ready; why they are not."""
        pool, until = fresh.service.pool, time.monotonic() + WARM_UP_S
        self.retiring.add(fresh)
        fresh.service.start()
        while not pool.ready:
            gone = stamp_of(self.folder) not in (stamp, None)
            if pool.startup_error is not None or gone or time.monotonic() > until:
                self._retire(fresh)
                return "the folder changed again" if gone else pool.startup_error or "its workers did not become ready"
            await asyncio.sleep(STEP_S)
        self.retiring.discard(fresh)
        return None

    def _report(self, stamp: Stamp, problem: str) -> None:
        log("reload_failed", model=self.name, reason=problem, retry_s=self._pause_s)
        self._broken, self._retry_at = stamp, time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_RETRY_S)

    def _generation(self, model: ServedModel) -> Generation:
        service = Service(model, replace(self.workers, hash=model.hash), self._limits, self._metrics)
        generation = Generation(service, self._make_app(service))
        if self.make_room is not None:
            service.prepare = self.preparation(generation)
        return generation

    def preparation(self, generation: Generation) -> Callable[[], None]:
        """Starts the workers of a generation that a request needs. Raises RequestError."""
        return partial(self._prepare, generation)

    def _prepare(self, generation: Generation) -> None:
        service = generation.service
        if service.pool.startup_error is not None:
            self._retry_at = self._retry_at if self._retry_at > time.monotonic() else time.monotonic() + RETRY_S
            raise LoadError(f"the model {self.name!r} could not be loaded; the server's log says why")
        if not service.started:
            assert self.make_room is not None, "it is why this was called"
            self.make_room(self)
            log("loading", model=self.name)
            service.start()

    def _switch(self, fresh: Generation) -> None:
        old, self.current = self.current, fresh
        self._retire(old)

    def _retire(self, old: Generation) -> None:
        """End a generation with its last request."""
        old.leaving = True
        self.retiring.add(old)
        task = asyncio.get_running_loop().create_task(self._end(old))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _end(self, old: Generation) -> None:
        until = time.monotonic() + self._limits.deadline_s + DRAIN_S
        while old.requests and time.monotonic() < until:
            await asyncio.sleep(STEP_S)
        if old.service.started:
            await asyncio.to_thread(old.service.close)
        self.retiring.discard(old)


def stamp_of(folder: Path) -> Stamp | None:
    """What changes when the manifest of a folder, or the folder, is replaced; None while there is none."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
