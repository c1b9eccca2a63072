"""A worker: a process that holds the model and answers rows until the other end of its pipe is closed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

READY = "ready"
INTERNAL = "this row could not be answered; the server's log says why"

Request = tuple[Mapping[str, Any], Sequence[str] | None]
"""A row and the tasks asked of it; None: all."""


def work(pipe: Connection, folder: str, threads: int, batch_tokens: int) -> None:
    """The life of a worker. Answers each list of requests by a list of output rows; says READY or an error first."""
    for number in (signal.SIGTERM, signal.SIGINT):  # whoever started it ends it, when all is answered
        signal.signal(number, signal.SIG_IGN)
    from manyheads.process import collect_rarely, forget_shapes, keep_freed_memory

    keep_freed_memory()
    forget_shapes()
    collect_rarely()
    try:
        answer = _loaded(folder, threads, batch_tokens)
        answer([({"text": "ready?"}, None)])
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        return
    pipe.send(READY)
    while True:
        try:
            requests = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(answered(answer, requests))


def answered(
    answer: Callable[[Sequence[Request]], Iterable[dict[str, Any]]], requests: Sequence[Request]
) -> list[dict[str, Any]]:
    """An output row for each request. Where all together fail, each is tried alone, so that only the guilty ones fail."""
    try:
        return list(answer(requests))
    except Exception as error:
        if len(requests) > 1:
            half = len(requests) // 2
            return answered(answer, requests[:half]) + answered(answer, requests[half:])
        _log(error)
        row = requests[0][0]
        head = {"id": row["id"]} if "id" in row else {}
        return [{**head, "error": {"type": "internal_error", "message": INTERNAL}}]


def _log(error: Exception) -> None:
    """Where it happened, without its message, which may hold the text."""
    import sys
    import traceback

    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    line = json.dumps({"event": "row_failed", "type": type(error).__name__, "at": frames[-4:]})
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _loaded(folder: str, threads: int, batch_tokens: int) -> Callable[[Sequence[Request]], Iterable[dict[str, Any]]]:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch or numpy is loaded
    from manyheads.api import load

    return load(folder, batch_tokens=batch_tokens).predictor.reply
