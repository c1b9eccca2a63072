"""Responses: JSON, and an error as a status with a body. The only place that gives errors their HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import HTTPException
from fastapi.responses import JSONResponse, Response

from manyheads.serve import errors

STATUSES: dict[type[errors.RequestError], int] = {
    errors.InvalidRequestError: 422,
    errors.UnknownModelError: 404,
    errors.TooLargeError: 413,
    errors.QueueFullError: 429,
    errors.ClientLeftError: 499,  # as in nginx's log; nobody reads the response
    errors.InternalRowError: 500,
    errors.LoadError: 500,
    errors.DeadlineError: 503,
}

V2 = "manyheads.v2"
"""Entry of the scope of a request of the V2 protocol."""


class ErrorKind(NamedTuple):
    """The `type` in the body of a status, and what the status means."""

    type: str
    meaning: str


ERRORS = {
    400: ErrorKind("invalid_request", "The request could not be parsed"),
    401: ErrorKind("unauthorized", "No API key, or an unknown one"),
    404: ErrorKind("not_found", "No such route or model"),
    405: ErrorKind("not_allowed", "The route does not have this method"),
    408: ErrorKind("too_slow", "The body did not arrive in time"),
    413: ErrorKind("too_large", "The body is too large, or could not be answered in time: split it into several requests"),
    415: ErrorKind("compressed", "The body is compressed (Content-Encoding)"),
    422: ErrorKind("invalid_request", "The body does not follow the schema; the message says where"),
    429: ErrorKind("queue_full", "The queue is full: wait `Retry-After` seconds and send the request again"),
    500: ErrorKind("internal_error", "The server failed; its log says where"),
    503: ErrorKind("deadline_passed", "The deadline passed before an answer: wait `Retry-After` seconds and try again"),
}


class JSON(JSONResponse):
    """JSON in ASCII: JSON can hold half of a surrogate pair, UTF-8 cannot; it goes out as it came in."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def http_error(error: errors.RequestError) -> HTTPException:
    """An error with its status and headers."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return HTTPException(STATUSES[type(error)], str(error), headers)


def error_response(error: HTTPException | errors.RequestError, scope: Mapping[str, Any]) -> Response:
    """`{"error": {"type", "message"}}`; `{"error": message}` for a request of the V2 protocol, by its scope."""
    if isinstance(error, errors.RequestError):
        error = http_error(error)
    if scope.get(V2):
        status = 400 if error.status_code == 422 else error.status_code
        return JSON({"error": str(error.detail)}, status, error.headers)
    kind = ERRORS[error.status_code].type if error.status_code in ERRORS else "error"
    return JSON({"error": {"type": kind, "message": str(error.detail)}}, error.status_code, error.headers)
