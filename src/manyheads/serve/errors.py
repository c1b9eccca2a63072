"""Why a request is not answered. Nothing here knows HTTP: `responses.py` gives each error its status."""

from __future__ import annotations

import math

from manyheads.errors import ManyheadsError


class RequestError(ManyheadsError):
    """Base of the errors of one request."""

    retry_after_s: int | None = None
    """When the client may try again; None: the request would fail again."""


class InvalidRequestError(RequestError):
    """A request that does not fit the model or the limits."""


class UnknownModelError(RequestError):
    """A model name that this server does not have."""


class TooLargeError(RequestError):
    """A request that could never be answered in time. The message never quotes its texts."""


class QueueFullError(RequestError):
    """There is no room in the queue now.

    >>> str(QueueFullError(2.4)), QueueFullError(2.4).retry_after_s
    ('too much waits already; try again in 3 s', 3)
    """

    def __init__(self, retry_after_s: float, reason: str = "too much waits already") -> None:
        self.retry_after_s = math.ceil(retry_after_s)
        super().__init__(f"{reason}; try again in {self.retry_after_s} s")


class DeadlineError(RequestError):
    """The deadline passed before the last row was started."""

    retry_after_s = 1


class ClientLeftError(RequestError):
    """The client closed the connection; nobody reads the response."""


class LoadError(RequestError):
    """A model that its workers cannot load."""

    retry_after_s = 5


class InternalRowError(RequestError):
    """The server failed on a row of a request that needs all of them."""
