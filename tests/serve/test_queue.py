"""The queue: nothing is lost or answered twice, requests take turns, budgets hold. test_scheduling.py has its promises."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.serve.limits import Limits
from manyheads.serve.queue import INITIAL_RATE, MAX_ATTEMPTS, MIN_PASS_TOKENS, Queue, QueueFullError, TooLargeError
from manyheads.serve.scheduling import QUANTUM, Failure, QueuedRow

PLENTY = 1e9


class Told:
    """What became of each unit."""

    def __init__(self) -> None:
        self.fates: dict[int, list[Any]] = {}
        self._lock = threading.Lock()

    def unit(self, tokens: int = 10, *, within_s: float = 60.0) -> QueuedRow:
        number = len(self.fates)
        self.fates[number] = []

        def done(answer: dict[str, Any] | Failure) -> None:
            with self._lock:
                self.fates[number].append(answer)

        return QueuedRow({"n": number}, ["section"], tokens, time.monotonic() + within_s, done)


def queue_of(batch: int = 100, *, most: int = 10**9, overload_wait_s: float = PLENTY, fill_wait_s: float = 0.0, workers: int = 1,
             deadline_s: float = PLENTY) -> Queue:  # fmt: skip
    queue = Queue(Limits(batch_tokens=batch, queue_tokens=most, overload_wait_s=overload_wait_s, fill_wait_s=fill_wait_s, deadline_s=deadline_s),
                  workers)  # fmt: skip
    queue.record_trial(INITIAL_RATE)
    return queue


def numbers(units: Sequence[QueuedRow]) -> list[int]:
    return [unit.row["n"] for unit in units]


requests = st.lists(st.lists(st.integers(1, 250), min_size=1, max_size=8), max_size=12)


@given(requests, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_every_row_is_settled_once_whatever_dies_and_no_pass_is_over_its_budget(sizes: list[list[int]],
                                                                                draw: random.Random) -> None:  # fmt: skip
    told, queue = Told(), queue_of()
    for request in sizes:
        queue.put([told.unit(tokens) for tokens in request])
    total = sum(map(sum, sizes))
    while units := queue.take(0.0):
        total -= sum(unit.tokens for unit in units)
        assert queue.tokens == total
        assert len(units) == 1 or sum(unit.tokens for unit in units) <= 100
        assert len(units) == 1 or not any(unit.attempts for unit in units), "what a worker died of goes alone"
        for unit in units:
            unit.attempts += 1
        if draw.random() < 0.3:
            queue.requeue(units)
            total += sum(unit.tokens for unit in units if unit.attempts < MAX_ATTEMPTS)
        else:
            for unit in units:
                unit.finish({})
    assert len(queue) == queue.tokens == 0
    assert all(fates in ([{}], [Failure.CRASHED]) for fates in told.fates.values())


@given(requests)
@settings(deadline=None, max_examples=60)
def test_a_pass_leaves_no_room_that_the_next_row_of_a_request_would_fit(sizes: list[list[int]]) -> None:
    told, queue = Told(), queue_of()
    waiting: list[list[QueuedRow]] = []
    for request in sizes:
        units = [told.unit(tokens) for tokens in request]
        queue.put(units)
        waiting += [[unit for unit in units if unit.tokens <= 100], [unit for unit in units if unit.tokens > 100]]
    while units := queue.take(0.0):
        for rows in waiting:
            taken = [unit for unit in rows if unit in units]
            assert taken == rows[: len(taken)], "rows of a request keep their order, long ones and others apart"
            del rows[: len(taken)]
        room = 100 - sum(unit.tokens for unit in units)
        assert not [rows for rows in waiting if rows and rows[0].tokens <= room]
    assert not any(waiting)


def test_rows_of_one_request_keep_their_order() -> None:
    told, queue = Told(), queue_of(batch=50)
    queue.put([told.unit() for _ in range(12)])
    taken = [numbers(queue.take(0.0)) for _ in range(3)]
    assert taken == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_one_row_does_not_wait_for_all_of_a_large_request_that_came_before() -> None:
    told, queue = Told(), queue_of()
    queue.put([told.unit(90, within_s=PLENTY) for _ in range(1000)])  # no pace presses it
    single = told.unit(50)
    queue.put([single])
    assert any(single in queue.take(0.0) for _ in range(3))


def test_a_row_longer_than_a_pass_goes_alone_and_only_to_who_takes_such() -> None:
    told, queue = Told(), queue_of()
    long, short = told.unit(5000), told.unit(10)
    queue.put([long])
    queue.put([short])
    assert queue.take(0.0, long=False) == [short]
    assert queue.take(0.0, long=False) == []
    assert queue.take(0.0) == [long]


def test_a_pass_is_as_large_as_a_worker_reads_in_a_tenth_of_a_second() -> None:
    told, queue = Told(), queue_of(batch=1024, workers=2)
    assert queue.pass_tokens() == MIN_PASS_TOKENS, "2,000 tokens a second to begin with"
    for tokens_s, expected in ((6_000, 600), (1_000, MIN_PASS_TOKENS), (200_000, 1024)):
        for _ in range(200):
            queue.record_pass(512, 512 / tokens_s)
        assert queue.pass_tokens() == pytest.approx(expected, abs=1)
        queue.put([told.unit(50) for _ in range(30)])
        taken = sum(unit.tokens for unit in queue.take(0.0))
        assert queue.pass_tokens() - 50 < taken <= queue.pass_tokens()
        while queue.take(0.0):
            pass


def test_many_threads_lose_and_double_nothing() -> None:
    told, queue = Told(), queue_of(fill_wait_s=0.001)
    units = [told.unit(random.Random(i).randint(1, 120)) for i in range(2000)]
    over = threading.Event()

    def put(mine: list[QueuedRow]) -> None:
        for start in range(0, len(mine), 7):
            queue.put(mine[start : start + 7])

    def take(seed: int) -> None:
        draw = random.Random(seed)
        while not over.is_set():
            taken = queue.take(0.05, long=seed == 0)
            for unit in taken:
                unit.attempts += 1
            if taken and draw.random() < 0.1:
                queue.requeue(taken)
            else:
                for unit in taken:
                    unit.finish({})

    threads = [threading.Thread(target=put, args=(units[i::4],)) for i in range(4)]
    takers = [threading.Thread(target=take, args=(i,)) for i in range(3)]
    for thread in [*threads, *takers]:
        thread.start()
    until = time.monotonic() + 60
    while not all(told.fates.values()) and time.monotonic() < until:
        time.sleep(0.01)
    over.set()
    for thread in [*threads, *takers]:
        thread.join()
    assert Counter(map(len, told.fates.values())) == {1: 2000}


def test_late_and_gone_rows_are_told_and_never_taken() -> None:
    told, queue = Told(), queue_of()
    late, gone, good = told.unit(within_s=-1), told.unit(), told.unit()
    for unit in (late, gone, good):
        queue.put([unit])
    queue.cancel([gone])
    assert told.fates == {0: [], 1: [Failure.CANCELLED], 2: []}, "at once, though nobody takes"
    assert (len(queue), queue.tokens) == (2, 20)
    assert queue.take(0.0) == [good]
    assert told.fates == {0: [Failure.EXPIRED], 1: [Failure.CANCELLED], 2: []}
    assert queue.tokens == 0


def test_a_row_of_a_client_that_has_gone_does_not_come_back_from_a_dead_worker() -> None:
    told, queue = Told(), queue_of(batch=15)
    units = [told.unit(), told.unit()]
    queue.put(units)
    taken = queue.take(0.0)
    queue.cancel(units)
    queue.requeue(taken)
    assert told.fates == {0: [Failure.CANCELLED], 1: [Failure.CANCELLED]}
    assert queue.take(0.0) == []


def test_rows_that_nobody_takes_are_told_that_they_are_late() -> None:
    told, queue = Told(), queue_of()
    queue.put([told.unit(within_s=-1)])
    queue.expire()
    assert told.fates[0] == [Failure.EXPIRED]


def test_a_full_queue_takes_all_of_a_request_or_nothing_and_says_when() -> None:
    told, queue = Told(), queue_of(most=100)
    queue.put([told.unit(60)])
    with pytest.raises(QueueFullError) as refused:
        queue.put([told.unit(20), told.unit(21)])
    assert refused.value.retry_after_s >= 1
    assert (len(queue), queue.tokens) == (1, 60)
    queue.check_room()
    queue.put([told.unit(20), told.unit(20)])
    with pytest.raises(QueueFullError):
        queue.check_room()


def test_an_empty_queue_takes_a_small_request_that_is_larger_than_itself() -> None:
    told, queue = Told(), queue_of(most=100)
    queue.put([told.unit(QUANTUM)])
    assert queue.take(0.0)
    with pytest.raises(TooLargeError, match="the queue holds 100 tokens and accepts at most 256 tokens per request; split the text"):
        queue.put([told.unit(QUANTUM + 1)])


def test_a_request_that_even_an_idle_server_could_not_answer_in_time_is_refused_with_what_fits() -> None:
    told, queue = Told(), queue_of(deadline_s=10.0)
    with pytest.raises(TooLargeError) as refused:
        queue.put([told.unit(100) for _ in range(81)])
    assert str(refused.value) == (
        "81 rows have about 8,100 tokens, but at the measured 2,000 tokens/s at most 8,000 tokens per request (about 80 rows like "
        "these) can be answered within 10 s; send 2 or more requests, one after the other")  # fmt: skip
    assert not any(told.fates.values())
    queue.put([told.unit(100) for _ in range(80)])


def test_a_text_that_one_of_many_workers_could_not_read_in_time_is_refused() -> None:
    told, queue = Told(), queue_of(deadline_s=10.0, workers=4)
    with pytest.raises(
        TooLargeError, match="at the measured 2,000 tokens/s: at most 16,000 can be answered within 10 s"
    ):
        queue.put([told.unit(16_001)])
    queue.put([told.unit(16_000)])


def test_a_pass_that_is_not_full_waits_a_little_for_company() -> None:
    told, queue = Told(), queue_of(fill_wait_s=20)
    queue.put([told.unit()])
    timer = threading.Timer(0.05, lambda: queue.put([told.unit(90)]))
    timer.start()
    started = time.monotonic()
    assert numbers(queue.take(40)) == [0, 1]
    assert time.monotonic() - started < 10, "a full pass waits no longer"


def test_take_returns_empty_handed_after_its_time() -> None:
    started = time.monotonic()
    assert queue_of().take(0.05) == []
    assert 0.04 < time.monotonic() - started < 2


def test_a_closed_queue_lets_go_of_all_and_takes_nothing() -> None:
    told, queue = Told(), queue_of()
    waiting, busy = told.unit(), told.unit()
    queue.put([busy])
    queue.take(0.0)
    queue.put([waiting])
    queue.close()
    queue.requeue([busy])
    assert told.fates == {0: [Failure.EXPIRED], 1: [Failure.EXPIRED]}
    with pytest.raises(QueueFullError):
        queue.put([told.unit()])
    assert queue.take(10.0) == []


def test_before_a_worker_has_begun_a_large_request_is_to_come_again_and_a_small_one_waits() -> None:
    told, queue = Told(), Queue(Limits(), 2)
    queue.put([told.unit()])
    with pytest.raises(QueueFullError, match="no worker has started yet") as refused:
        queue.put([told.unit(1000) for _ in range(100)])
    assert refused.value.retry_after_s == 5
    queue.record_trial(9_000.0)
    queue.put([told.unit(1000) for _ in range(100)])


def test_the_rate_is_the_mean_of_what_workers_had_when_they_began() -> None:
    queue = Queue(Limits(), 2)
    for rate, known in ((5_000.0, 10_000), (7_000.0, 12_000), (1.0, 12_000)):
        queue.record_trial(rate)
        assert queue.rate == known, "the third is a worker that was started again, under load"


def test_the_rate_is_learned_from_passes_that_are_full_enough() -> None:
    queue = queue_of(workers=2)
    assert queue.rate == 2 * INITIAL_RATE
    queue.record_pass(10, 1.0)
    assert queue.rate == 2 * INITIAL_RATE
    for _ in range(100):
        queue.record_pass(100, 0.01)
    assert queue.rate == pytest.approx(20_000, rel=0.01)
    assert queue.expected_s(100) == pytest.approx(0.01, rel=0.01)
