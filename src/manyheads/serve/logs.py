"""The log: lines of JSON on stderr. Texts of requests are never in it, so of an error it has the place, not the message."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from contextlib import suppress
from typing import Any


def log(event: str, **facts: Any) -> None:
    """A line of JSON on stderr. Where nobody reads it, nothing happens."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}) + "\n"
    with suppress(OSError, ValueError):
        sys.stderr.write(line)
        sys.stderr.flush()


def place(error: BaseException) -> dict[str, Any]:
    """The type of an error and where it happened, without its message, which may hold a text."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return {"type": type(error).__name__, "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


class _Lines(logging.Handler):
    """What libraries log, as such lines: the wording without what is filled in."""

    def emit(self, record: logging.LogRecord) -> None:
        """One record."""
        wording = str(record.msg).partition("\n")[0][:200] if record.name.startswith("uvicorn") else ""
        error = record.exc_info[1] if record.exc_info else None
        log("library", logger=record.name, level=record.levelname, message=wording, **(place(error) if error else {}))


def take_over() -> None:
    """Have warnings and errors of all libraries logged here."""
    logging.basicConfig(handlers=[_Lines()], level=logging.WARNING, force=True)
