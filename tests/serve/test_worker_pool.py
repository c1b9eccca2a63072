"""Workers in processes of their own, without a model: they die, hang and cannot start, and every row has its answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from manyheads.serve import worker_pool as pools
from manyheads.serve.limits import Limits, estimated_tokens
from manyheads.serve.queue import INITIAL_RATE, Queue
from manyheads.serve.scheduling import Failure, QueuedRow
from manyheads.serve.worker import WorkerSettings
from manyheads.serve.worker_pool import WorkerPool
from serve import stub_worker

PATIENCE_S = 60.0


class Told:
    """Stands in for the metrics, and keeps what became of rows."""

    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}
        self.restarts: list[str] = []
        self.passes: list[int] = []
        self._changed = threading.Condition()

    def pass_finished(self, rows: Sequence[QueuedRow], seconds: float) -> None:
        self.passes.append(len(rows))

    def worker_ready(self, worker: int, seconds: float) -> None: ...

    def worker_restarted(self, worker: int, reason: str) -> None:
        self.restarts.append(reason)

    def unit(self, number: int, text: str, tokens: int = 10, *, within_s: float = PATIENCE_S) -> QueuedRow:
        def done(answer: dict[str, Any] | Failure) -> None:
            with self._changed:
                assert number not in self.answers, "answered once"
                self.answers[number] = answer
                self._changed.notify_all()

        return QueuedRow({"id": number, "text": text}, ["section"], tokens, time.monotonic() + within_s, done)

    def wait_for(self, numbers: range) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: set(numbers) <= set(self.answers), PATIENCE_S)


@contextmanager
def pool_of(workers: int = 1, limits: Limits | None = None) -> Iterator[tuple[WorkerPool, Queue, Told]]:
    told = Told()
    queue = Queue(limits or Limits(overload_wait_s=1e9, deadline_s=1e9, queue_tokens=10**9), workers)
    pool = WorkerPool(WorkerSettings("nowhere", "", workers, 1, 1024), queue, told)  # type: ignore[arg-type]
    pool.start()
    try:
        yield pool, queue, told
    finally:
        pool.close()
    assert all(not thread.is_alive() for thread in pool._threads)


def pid_of(pool: WorkerPool) -> int:
    process = pool._slots[0].process
    assert process is not None
    assert process.pid is not None
    return process.pid


def until(what: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "run_worker", stub_worker.run_worker)


def good(answer: Any) -> bool:
    return isinstance(answer, dict) and "tasks" in answer


def test_a_row_that_raises_or_kills_fails_alone_and_its_neighbours_are_answered() -> None:
    with pool_of() as (pool, queue, told):
        texts = ["a", "!raise x", "b", "!kill", "c", "d"]
        queue.put([told.unit(i, text) for i, text in enumerate(texts)])
        told.wait_for(range(6))
        assert [good(told.answers[i]) for i in range(6)] == [True, False, True, False, True, True]
        assert told.answers[1] == {
            "error": {"type": "internal_error", "message": stub_worker.worker.INTERNAL_ERROR["message"]}
        }
        assert told.answers[3] is Failure.CRASHED
        until(lambda: told.restarts == [f"exit status {-signal.SIGKILL}"] * 3)
        until(lambda: pool.ready)


def test_kills_under_load_lose_no_row_and_are_seen_within_a_second() -> None:
    with pool_of(2) as (pool, queue, told):
        until(lambda: pool.ready)
        for i in range(60):
            queue.put([told.unit(i, "!sleep 0.01", 600)])
        for _ in range(3):
            until(lambda: pool.ready)
            os.kill(pid_of(pool), signal.SIGKILL)
            until(lambda: not pool.ready, 1.0)
        told.wait_for(range(60))
        assert all(map(good, told.answers.values()))
        until(lambda: len(told.restarts) == 3)


@pytest.mark.long
def test_a_worker_that_hangs_is_ended_and_its_neighbours_are_answered() -> None:
    with pool_of(limits=Limits(hang_s=0.5)) as (_, queue, told):
        queue.put([told.unit(0, "!hang", 1), told.unit(1, "a", 1)])
        told.wait_for(range(2))
        assert told.answers[0] is Failure.CRASHED
        assert good(told.answers[1])


def test_a_long_row_holds_one_worker_and_short_ones_go_on_in_the_other() -> None:
    with pool_of(2) as (pool, queue, told):
        until(lambda: pool.ready)
        time.sleep(2 * pools.POLL_S)  # until both know that there are two
        queue.put([told.unit(0, "!sleep 3", 5000)])
        queue.put([told.unit(9, "!sleep 3", 5000)])
        until(lambda: len(queue) == 1)
        for i in range(1, 6):
            queue.put([told.unit(i, "a")])
            told.wait_for(range(1, i + 1))
        assert 0 not in told.answers
        assert 9 not in told.answers


def test_rows_that_no_worker_takes_are_late_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "RESTART_PAUSE_S", 0.05)
    monkeypatch.setattr(pools, "MAX_RESTART_PAUSE_S", 0.05)
    with pool_of() as (pool, queue, told):
        until(lambda: pool.ready)
        monkeypatch.setattr(pools, "run_worker", stub_worker.run_broken_worker)
        os.kill(pid_of(pool), signal.SIGKILL)
        until(lambda: not pool.ready)
        queue.put([told.unit(0, "a", within_s=0.5)])
        told.wait_for(range(1))
        assert told.answers[0] is Failure.EXPIRED
        until(lambda: "RuntimeError: no such luck" in told.restarts)
        assert not pool.ready
        assert pool.startup_error is None, "it was started once: it may come back"
        monkeypatch.setattr(pools, "run_worker", stub_worker.run_worker)
        until(lambda: pool.ready)


def test_a_model_that_could_never_be_loaded_is_hopeless_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "run_worker", stub_worker.run_broken_worker)
    with pool_of() as (pool, _, _):
        until(lambda: pool.startup_error is not None)
        assert pool.startup_error == "RuntimeError: no such luck"


def test_closing_lets_go_of_what_waits_and_of_what_hangs() -> None:
    with pool_of() as (pool, queue, told):
        until(lambda: pool.ready)
        queue.put([told.unit(0, "!hang", 1000)])
        until(lambda: len(queue) == 0)
        queue.put([told.unit(1, "a")])
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert told.answers == {0: Failure.EXPIRED, 1: Failure.EXPIRED}
    assert not pool.ready


def test_rows_that_cannot_be_sent_to_a_worker_fail_alone() -> None:
    with pool_of() as (pool, queue, told):
        until(lambda: pool.ready)
        bad = told.unit(0, "a")
        bad.row = {"text": threading.Lock()}
        queue.put([bad, told.unit(1, "b")])
        told.wait_for(range(2))
        assert told.answers[0] is Failure.CRASHED
        assert good(told.answers[1])


def test_the_rate_is_measured_before_the_first_row_comes() -> None:
    with pool_of(2) as (pool, queue, told):
        assert queue.rate == 2 * INITIAL_RATE
        until(lambda: pool.ready)
        assert queue.rate != 2 * INITIAL_RATE
        assert told.passes == [], "no row was asked for"


def test_what_is_measured_is_tokens_a_second_of_the_better_pass() -> None:
    times = iter([0.0, 0.4, 0.2])

    def slow(requests: Sequence[Any]) -> list[Any]:
        time.sleep(next(times))
        return [{} for _ in requests]

    tokens = stub_worker.worker.TRIAL_ROWS * estimated_tokens(stub_worker.worker.TRIAL_ROW)
    assert 200 < tokens < 1_024, "a pass"
    assert 0.5 * tokens / 0.2 < stub_worker.worker.measure_rate(slow) <= tokens / 0.2
