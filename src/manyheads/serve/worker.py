"""A worker: a process that holds the model and answers rows until the other end of its pipe is closed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import BundleError, ManyheadsError
from manyheads.serve.limits import estimated_tokens
from manyheads.serve.logs import log, place

if TYPE_CHECKING:
    from manyheads.predict import Precision

READY = "ready"
INTERNAL = {"type": "internal_error", "message": "this row could not be answered; the server's log says why"}
NICE = 5
"""Workers give way to the process that serves, which needs little: it must refuse quickly when they are at full load."""

TRIAL = (
    2
    * "Two hundred patients with type 2 diabetes were given metformin or a placebo for half a year. Glucose improved. "
)
"""What a worker reads when it begins, so that its speed is known before the first request comes."""
TRIAL_ROWS = 4
TRIALS = 2

Request = tuple[Mapping[str, Any], Sequence[str] | None]
"""A row and the tasks asked of it; None: all."""
Answering = Callable[[Sequence[Request]], Iterable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Crew:
    """How many workers, and with what."""

    folder: str
    hash: str
    """Of the manifest: what is answered under this hash comes from that model, whatever happens to the folder."""
    workers: int
    threads: int
    """Of each."""
    batch_tokens: int
    precision: Precision = "auto"


def work(pipe: Connection, crew: Crew) -> None:
    """The life of a worker. Says READY and its tokens a second, or an error; then answers each list of requests by rows."""
    for number in (signal.SIGTERM, signal.SIGINT):  # whoever started it ends it, when all is answered
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICE)
    try:
        answer = loaded(crew)
        rate = measured(answer)
    except Exception as error:
        pipe.send(str(error) if isinstance(error, ManyheadsError) else f"{type(error).__name__}: {error}")
        return
    try:
        pipe.send(READY)
        pipe.send(rate)
        while True:
            pipe.send(answered(answer, pipe.recv()))
    except (EOFError, OSError):  # the server has gone
        return


def measured(answer: Answering) -> float:
    """Estimated tokens a second of a model that has just been loaded: the better of some passes, after one to warm it up."""
    row = {"text": TRIAL}
    requests: list[Request] = [(row, None)] * TRIAL_ROWS
    times = []
    for _ in range(1 + TRIALS):
        started = time.perf_counter()
        list(answer(requests))
        times.append(time.perf_counter() - started)
    return TRIAL_ROWS * estimated_tokens(row) / max(min(times[1:]), 1e-4)


def answered(answer: Answering, requests: Sequence[Request]) -> list[dict[str, Any]]:
    """An output row for each request. Where all together fail, each half is tried, so that only the guilty ones fail."""
    try:
        return list(answer(requests))
    except Exception as error:
        if len(requests) > 1:
            half = len(requests) // 2
            return answered(answer, requests[:half]) + answered(answer, requests[half:])
        log("row_failed", **place(error))
        return [{"error": INTERNAL}]


def loaded(crew: Crew) -> Answering:
    """The model's answers to rows. Raises BundleError for a model that is not the one the server began with."""
    from manyheads.process import set_up, use_threads

    set_up()
    use_threads(crew.threads)
    from manyheads.api import load
    from manyheads.bundle import manifest_hash, read_manifest

    model = load(crew.folder, batch_tokens=crew.batch_tokens, precision=crew.precision)
    if manifest_hash(read_manifest(Path(crew.folder))) != crew.hash:
        raise BundleError(f"{crew.folder} holds another model than when the server was started; start the server anew")
    return model.predictor.reply
