"""What the queue promises, on a clock of the test's own: what it takes it answers in time, and nobody shuts others out."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.serve.limits import Limits
from manyheads.serve.queue import LARGE_SHARE, SAFETY, Queue, QueueFullError, TooLargeError
from manyheads.serve.scheduling import QUANTUM, Failure, QueuedRow, Scheduler

RATE = 4_000.0
"""Tokens a second of the simulated workers together; what the queue takes them for, too."""
DEADLINE_S = 30.0
WORKERS = 2


@dataclass
class Asked:
    """One request and what came of it."""

    at: float
    rows: list[int]
    answered: float | None = None
    refused: str | None = None
    left: int = 0
    fates: list[Failure] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(self.rows)


class Simulation:
    """A server on simulated time. Passes take what the rate says, times `slowness`, and always end as they began."""

    def __init__(self, *, slowness: float = 1.0, limits: Limits | None = None) -> None:
        self.now = 0.0
        self.slowness = slowness
        self.queue = Queue(limits or Limits(fill_wait_s=0.0, deadline_s=DEADLINE_S), WORKERS, lambda: self.now)
        self.queue.record_trial(RATE / WORKERS)
        self._busy: list[tuple[float, int, list[QueuedRow]]] = []

    def run(self, requests: Sequence[Asked]) -> None:
        arrivals = sorted(requests, key=lambda asked: asked.at)
        while arrivals or self._busy or len(self.queue):
            self._feed()
            times = [arrivals[0].at] if arrivals else []
            times += [self._busy[0][0]] if self._busy else []
            self.now = max(self.now, min(times)) if times else self.now + 0.01
            while arrivals and arrivals[0].at <= self.now:
                self._put(arrivals.pop(0))
            while self._busy and self._busy[0][0] <= self.now:
                for unit in heapq.heappop(self._busy)[2]:
                    unit.finish({})

    def _feed(self) -> None:
        for worker in range(WORKERS):
            if all(number != worker for _, number, _ in self._busy) and (
                units := self.queue.take(0.0, long=not worker)
            ):
                seconds = self.slowness * self.queue.expected_s(sum(unit.tokens for unit in units))
                heapq.heappush(self._busy, (self.now + seconds, worker, units))

    def _put(self, asked: Asked) -> None:
        asked.left = len(asked.rows)
        units: list[QueuedRow] = []

        def done(answer: dict[str, Any] | Failure) -> None:
            if isinstance(answer, Failure):
                asked.fates.append(answer)
                return
            asked.left -= 1
            if not asked.left:
                asked.answered = self.now

        units = [QueuedRow({}, ["x"], tokens, self.now + DEADLINE_S, done) for tokens in asked.rows]
        try:
            self.queue.put(units)
        except TooLargeError:
            asked.refused = "too large"
        except QueueFullError:
            asked.refused = "full"


ROWS = st.lists(st.integers(3, 900), min_size=1, max_size=60)
TRAFFIC = st.lists(st.builds(Asked, st.floats(0, 60), ROWS), min_size=1, max_size=60)


@given(TRAFFIC, st.floats(0.3, 1.1))
@settings(deadline=None, max_examples=80)
def test_what_is_taken_is_answered_by_its_deadline(requests: list[Asked], slowness: float) -> None:
    simulation = Simulation(slowness=slowness)
    simulation.run(requests)
    for asked in requests:
        assert not asked.fates
        assert (asked.answered is None) == (asked.refused is not None)
        assert asked.answered is None or asked.answered - asked.at <= DEADLINE_S + 1, (
            "begun by then, a pass later ended"
        )


@pytest.mark.parametrize(("small", "slowness"), [(0, 1.1), (2_000, 1.0), (2_000, 1.1), (8_000, 1.1)])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_taken_is_answered_by_its_deadline_however_much_is_asked(
    small: int, slowness: float, seed: int
) -> None:
    draw = random.Random(seed)
    large = [
        Asked(draw.uniform(0, 60), [draw.randint(3, 900) for _ in range(draw.choice([1, 5, 30, 90]))])
        for _ in range(70)
    ]
    requests = [*large, *(Asked(draw.uniform(0, 60), [draw.randint(3, 90)]) for _ in range(small))]
    Simulation(slowness=slowness).run(requests)
    assert not any(asked.fates for asked in requests)
    assert all((asked.answered is None) == (asked.refused is not None) for asked in requests)
    assert {asked.refused for asked in requests} >= {None, "full"} or small == 0


@given(TRAFFIC)
@settings(deadline=None, max_examples=60)
def test_what_is_too_large_is_so_whatever_else_waits(requests: list[Asked]) -> None:
    most = int(LARGE_SHARE * SAFETY * RATE * DEADLINE_S)
    simulation = Simulation()
    simulation.run([*requests, *(large := [Asked(at, [900] * 60) for at in (0.0, 7.0, 29.0)])])
    for asked in [*requests, *large]:
        assert (asked.refused == "too large") == (asked.tokens > most)


LARGE = st.lists(st.tuples(st.floats(0, 40), st.integers(1, 300), st.integers(50, 400)), max_size=12)


@given(LARGE, st.integers(0, 2**32))  # a seed: a thousand drawn lengths are more than hypothesis replays
@settings(deadline=None, max_examples=15)
def test_large_requests_never_shut_small_ones_out(large: list[tuple[float, int, int]], seed: int) -> None:
    """Small ones that need a quarter of the server find it, whatever large ones come beside them."""
    draw = random.Random(seed)
    small = [Asked(40 * i / 1000, [draw.randint(3, 77)]) for i in range(1000)]
    big = [Asked(at, [tokens] * rows) for at, rows, tokens in large]
    Simulation().run([*small, *big])
    assert all(asked.refused is None and not asked.fates for asked in small)
    slowest = max(asked.answered - asked.at for asked in small if asked.answered is not None)
    assert slowest < 3, "and are answered soon, not at the end of their time"
    assert not any(asked.fates for asked in big)


@pytest.mark.parametrize("rows", [120, 130, 1000])
@pytest.mark.parametrize("first", [True, False])
def test_two_thousand_small_ones_at_once_are_answered_beside_one_of_many_long_rows(rows: int, first: bool) -> None:
    long = Asked(0.0 if first else 0.1, [336] * rows)
    small = [Asked(0.05, [20]) for _ in range(2000)]
    Simulation().run([long, *small])
    assert all(asked.answered is not None and asked.answered - asked.at <= DEADLINE_S for asked in small)
    assert (long.answered is not None and long.answered <= DEADLINE_S) or long.refused == "too large"
    assert long.refused is None or rows == 1000


def test_an_overload_is_shed_to_the_patience_and_all_is_well_soon_after_it() -> None:
    over = [Asked(60 * i / 36_000, [66]) for i in range(36_000)]  # ten times what can be answered
    after = [Asked(62 + i, [66]) for i in range(5)]
    Simulation().run([*over, *after])
    waits = [asked.answered - asked.at for asked in over if asked.at > 30 and asked.answered is not None]
    assert len(waits) > 1_500, "at full speed"
    assert max(waits) < 1.5
    assert all(asked.answered is not None and asked.answered - asked.at < 0.3 for asked in after)
    assert {asked.refused for asked in over} == {None, "full"}


def test_clients_that_ask_one_request_after_another_are_all_answered_however_long_it_takes() -> None:
    """A queue that is never short, but always answers in time, is no overload."""
    simulation = Simulation()
    waiting = [Asked(0.0, [66]) for _ in range(300)]  # five seconds' work
    asked: list[Asked] = []
    for turn in range(20):
        again = [Asked(5.0 * turn + one.at + i / 100, [66]) for i, one in enumerate(waiting)]
        asked += again
    simulation.run(asked)
    assert all(one.refused is None and one.answered is not None for one in asked)


flows = st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=40), min_size=2, max_size=8)


@given(flows, st.integers(300, 1024))
@settings(deadline=None, max_examples=100)
def test_requests_that_wait_beside_one_another_get_equal_shares(sizes: list[list[int]], room: int) -> None:
    turns, given_to = Scheduler(), [0] * len(sizes)
    for i, request in enumerate(sizes):
        units = [QueuedRow({"i": i}, ["x"], tokens, 60.0, lambda _: None, due=50.0) for tokens in request]
        turns.add(units, 1024)
    while units := turns.take(room, 0.0, long=True):
        for unit in units:
            given_to[unit.row["i"]] += unit.tokens
        waiting = [i for i, request in enumerate(sizes) if given_to[i] < sum(request)]
        shares = [given_to[i] for i in waiting]
        assert not shares or max(shares) - min(shares) <= 2 * QUANTUM + max(map(max, sizes)) + room
    assert given_to == [sum(request) for request in sizes]
    assert (turns.tokens, turns.tokens_ahead, len(turns)) == (0, 0, 0)


@given(flows, st.integers(0, 100))
@settings(deadline=None, max_examples=60)
def test_rows_that_are_due_go_first(sizes: list[list[int]], which: int) -> None:
    turns = Scheduler()
    pressed = which % len(sizes)
    for i, request in enumerate(sizes):
        units = [QueuedRow({"i": i}, ["x"], tokens, 60.0, lambda _: None, due=1.0 if i == pressed else 50.0)
                 for tokens in request]  # fmt: skip
        turns.add(units, 1024)
    order = []
    while units := turns.take(300, 2.0, long=True):
        order += [unit.row["i"] for unit in units]
    firsts = order[: len(sizes[pressed])]
    others = [i for i in firsts if i != pressed]
    assert order[0] == pressed
    assert sum(sizes[pressed]) > 300 or not others
