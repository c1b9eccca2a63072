"""The log: lines of JSON on stderr. It never holds texts of requests, so an error is logged by location, not by message."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from contextlib import suppress
from typing import Any


def log(event: str, **facts: Any) -> None:
    """Write a line of JSON to stderr; a closed stderr is ignored."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}) + "\n"
    with suppress(OSError, ValueError):
        sys.stderr.write(line)
        sys.stderr.flush()


def error_location(error: BaseException) -> dict[str, Any]:
    """The type of an error and where it was raised, without its message, which may quote a text."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return {"type": type(error).__name__, "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


class _JsonHandler(logging.Handler):
    """Log records of libraries as such lines: the format string without its arguments."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        wording = str(record.msg).partition("\n")[0][:200] if record.name.startswith("uvicorn") else ""
        error = record.exc_info[1] if record.exc_info else None
        location = error_location(error) if error else {}
        log("library", logger=record.name, level=record.levelname, message=wording, **location)


def capture_library_logs() -> None:
    """Log the warnings and errors of all libraries as JSON."""
    logging.basicConfig(handlers=[_JsonHandler()], level=logging.WARNING, force=True)
