"""Which model a request means: of a server with one, or of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from manyheads.serve.errors import InvalidRequestError, UnknownModelError
from manyheads.serve.hosted import HostedModel
from manyheads.serve.served_model import ServedModel
from manyheads.serve.service import Service


class Catalog(Protocol):
    """The models that routes answer from."""

    @property
    def models(self) -> Sequence[ServedModel]:
        """All of them, as they are now."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """What requests may give as `model`, as `/v1/models` lists it."""
        ...

    def use(self, name: str) -> AbstractContextManager[Service]:
        """A model for one request, which is kept until its end. Raises UnknownModelError."""
        ...

    def use_task(self, model: str | None) -> AbstractContextManager[tuple[Service, str | None]]:
        """The same, from `model` of a request for one task, and the name of the task, if it says one."""
        ...

    def is_loaded(self, name: str) -> bool:
        """Whether workers hold the model now."""
        ...

    async def load(self, name: str) -> None:
        """Start its workers, and look at its folder. Raises RequestError."""
        ...

    def unload(self, name: str) -> None:
        """End its workers; the next request starts them again. Raises RequestError."""
        ...


class OneModel:
    """The catalog of the routes of one model."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def models(self) -> Sequence[ServedModel]:
        """The one."""
        return [self._service.model]

    @property
    def ids(self) -> Sequence[str]:
        """Its name, and its embedding and ranking tasks."""
        return self._service.model.ids

    @contextmanager
    def use(self, name: str) -> Iterator[Service]:
        """The one. Raises UnknownModelError for another name."""
        self._check(name)
        yield self._service

    @contextmanager
    def use_task(self, model: str | None) -> Iterator[tuple[Service, str | None]]:
        """The one, which decides whether it has the task."""
        yield self._service, model

    def is_loaded(self, name: str) -> bool:
        """Whether it is there."""
        self._check(name)
        return self._service.started

    async def load(self, name: str) -> None:
        """Start its workers, if they start on demand."""
        self._check(name)
        if self._service.prepare is not None:
            self._service.prepare()

    def unload(self, name: str) -> None:
        """Raises InvalidRequestError."""
        self._check(name)
        raise InvalidRequestError("the model cannot be unloaded here")

    def _check(self, name: str) -> None:
        if name != self._service.model.name:
            raise UnknownModelError(f"no model {name[:80]!r}; available: {self._service.model.name}")


class SeveralModels:
    """The catalog of a server with several models."""

    def __init__(self, hosts: Sequence[HostedModel]) -> None:
        self._hosts = {host.name: host for host in hosts}

    @property
    def models(self) -> Sequence[ServedModel]:
        """In the order of the command line."""
        return [host.current.service.model for host in self._hosts.values()]

    @property
    def ids(self) -> Sequence[str]:
        """Names of models, each followed by NAME/TASK of its embedding and ranking tasks."""
        return [one for model in self.models for one in (model.name, *(f"{model.name}/{task}" for task in model.ids[1:]))]

    @contextmanager
    def use(self, name: str) -> Iterator[Service]:
        """The current state of a model."""
        with self._host(name).use() as generation:
            yield generation.service

    @contextmanager
    def use_task(self, model: str | None) -> Iterator[tuple[Service, str | None]]:
        """`model` is NAME or NAME/TASK. Raises UnknownModelError for a name or task that is not there."""
        name, _, task = (model or "").partition("/")
        with self._host(name).use() as generation:
            if task and task not in generation.service.model.ids[1:]:
                raise self._unknown(model or "")
            yield generation.service, task or None

    def is_loaded(self, name: str) -> bool:
        """Whether its workers run, or start."""
        return self._host(name).loaded

    async def load(self, name: str) -> None:
        """Start its workers, if there is memory, and look at its folder."""
        host = self._host(name)
        host.check_now()
        with host.use() as generation:
            if generation.service.prepare is not None:
                generation.service.prepare()

    def unload(self, name: str) -> None:
        """End its workers after the requests in progress."""
        self._host(name).unload()

    def _host(self, name: str) -> HostedModel:
        if name not in self._hosts:
            raise self._unknown(name)
        return self._hosts[name]

    def _unknown(self, model: str) -> UnknownModelError:
        return UnknownModelError(f"no model {model[:80]!r}; available: {', '.join(self.ids)}")
