"""A worker: a process that holds the model and answers rows until its pipe is closed."""

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
from manyheads.serve.labels import answering
from manyheads.serve.limits import estimated_tokens
from manyheads.serve.logs import error_location, log

if TYPE_CHECKING:
    from manyheads.predict import Precision

READY = "ready"
INTERNAL_ERROR = {"type": "internal_error", "message": "this row could not be answered; the server's log says why"}
NICE = 5
"""Workers yield to the serving process, which needs little CPU but must refuse quickly when they are at full load."""

TRIAL_ROW = {
    "text": 2
    * "Two hundred patients with type 2 diabetes were given metformin or a placebo for half a year. Glucose improved. "
}
"""Read at startup to measure the worker's speed before the first request arrives."""
TRIAL_ROWS = 4
TRIAL_PASS_TOKENS = 1024
"""Tokens of a pass that is tried with so few rows; a GPU takes larger passes, and is faster in them."""
TRIALS = 2

Request = tuple[Mapping[str, Any], Sequence[str] | None, str | None]
"""A row, the tasks to answer (None: all), and the labels to choose among (`labels.packed`; None: those of the model)."""
Answer = Callable[[Sequence[Request]], Iterable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How many workers there are, and what each of them loads."""

    folder: str
    hash: str
    """Of the manifest: workers answer from this model only, whatever happens to the folder."""
    workers: int
    threads: int
    """Per worker."""
    batch_tokens: int
    precision: Precision = "auto"
    device: str = "cpu"
    """By name; several GPUs are dealt out in turn."""
    number: int = 0
    """Of the worker, among all that share the GPUs."""


def run_worker(pipe: Connection, settings: WorkerSettings) -> None:
    """Main function of a worker. Sends READY and its tokens per second, or an error; then answers lists of requests."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the server ends it, once everything is answered
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICE)
    try:
        answer = load_model(settings)
        rate = measure_rate(answer, TRIAL_ROWS * max(1, settings.batch_tokens // TRIAL_PASS_TOKENS))
    except Exception as error:
        pipe.send(str(error) if isinstance(error, ManyheadsError) else f"{type(error).__name__}: {error}")
        return
    try:
        pipe.send(READY)
        pipe.send(rate)
        while True:
            pipe.send(answer_rows(answer, pipe.recv()))
    except (EOFError, OSError):  # the server has ended
        return


def measure_rate(answer: Answer, rows: int = TRIAL_ROWS) -> float:
    """Estimated tokens per second of a model just loaded: the best of several passes, after one to warm up."""
    requests: list[Request] = [(TRIAL_ROW, None, None)] * rows
    times = []
    for _ in range(1 + TRIALS):
        started = time.perf_counter()
        list(answer(requests))
        times.append(time.perf_counter() - started)
    return rows * estimated_tokens(TRIAL_ROW) / max(min(times[1:]), 1e-4)


def answer_rows(answer: Answer, requests: Sequence[Request]) -> list[dict[str, Any]]:
    """One output row per request. If a batch fails, each half is tried again, so that only the bad rows fail."""
    try:
        return list(answer(requests))
    except Exception as error:
        if len(requests) > 1:
            half = len(requests) // 2
            return answer_rows(answer, requests[:half]) + answer_rows(answer, requests[half:])
        log("row_failed", **error_location(error))
        return [{"error": INTERNAL_ERROR}]


def load_model(settings: WorkerSettings) -> Answer:
    """The model as a function. Raises BundleError if the folder no longer holds the model of the settings."""
    from manyheads.process import set_up, use_threads

    set_up()
    use_threads(settings.threads)
    from manyheads import inference
    from manyheads.bundle import is_exported, read_manifest
    from manyheads.devices import device_of_worker

    exported = is_exported(read_manifest(Path(settings.folder)))
    device = device_of_worker(settings.device, settings.number, exported=exported)
    model = inference.load_model(
        settings.folder, device=device, batch_tokens=settings.batch_tokens, precision=settings.precision
    )
    if model.bundle.hash != settings.hash:
        raise BundleError(f"{settings.folder} no longer holds the model that this worker was started for")
    return answering(model.predictor)
