"""Rows that wait for a pass, and which of them go next. No lock and no clock: `queue.py` has both.

Decided here: what takes turns is requests, not rows. Deficit round robin (Shreedhar and Varghese 1996) gives each of them
the same number of tokens a round, so a request of one row passes a request of 1,000 by, and two large ones share alike.
Round robin alone would break the promise made to a large request when small ones keep coming, so every row also has a
latest time: spread over the time until the deadline, it is the pace at which the request ends in time. What has reached
its latest time goes first. Each request thus gets its fair share or its pace, whichever is more.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

QUANTUM = 256
"""Tokens a request gets in a round. A request of no more is small: it is answered in its first turn."""


class Fate(Enum):
    """What became of a row that has no answer."""

    LATE = "the deadline passed before it was answered"
    GONE = "the client has gone"
    DEADLY = "the worker ended while it answered this row, three times"


@dataclass(slots=True, eq=False)
class Unit:
    """A row on its way. `done` is called once, from any thread, with its answer or its fate."""

    row: Mapping[str, Any]
    names: Sequence[str]
    tokens: int
    """Estimated."""
    deadline: float
    """On the queue's clock, time.monotonic(); the same for all rows of a request."""
    done: Callable[[dict[str, Any] | Fate], None]
    gone: bool = False
    """Set when nobody waits for it any more."""
    attempts: int = 0
    latest: float = 0.0
    """From then on it goes before what is not as pressed."""
    arrived: float = 0.0
    started: float = 0.0
    flow: Flow | None = None
    """Where it waits."""


@dataclass(slots=True, eq=False)
class Flow:
    """The rows of a request that wait, in their order. Rows longer than a pass are a flow of their own."""

    rows: deque[Unit]
    long: bool
    tokens: int
    credit: int = 0
    """Tokens it may still have in this round."""

    @property
    def ahead(self) -> int:
        """Tokens that go before a small request which comes now."""
        return min(self.tokens, QUANTUM)


class Turns:
    """Flows in the order of their turns."""

    def __init__(self) -> None:
        self.tokens = 0
        self.ahead = 0
        """Tokens that go before a small request which comes now."""
        self._flows: dict[int, Flow] = {}

    def __len__(self) -> int:
        """Rows that wait."""
        return sum(len(flow.rows) for flow in self._flows.values())

    def add(self, units: Sequence[Unit], long_tokens: int) -> None:
        """Rows of one request; those of more than `long_tokens` wait apart, for a worker that takes such."""
        for long in (False, True):
            rows = deque(unit for unit in units if (unit.tokens > long_tokens) == long)
            if rows:
                flow = Flow(rows, long, sum(unit.tokens for unit in rows))
                for unit in rows:
                    unit.flow = flow
                self._flows[id(flow)] = flow
                self.tokens += flow.tokens
                self.ahead += flow.ahead

    def first(self, *, long: bool) -> Unit | None:
        """A row that could go next."""
        return next((flow.rows[0] for flow in self._flows.values() if long or not flow.long), None)

    def take(self, tokens: int, now: float, *, long: bool) -> list[Unit]:
        """The rows of a pass of so many tokens; at least one, when there are any, however long it is."""
        chosen: list[Unit] = []
        room = self._take_pressed(tokens, now, chosen, long=long)
        moved = True
        while moved and room > 0:
            moved = False
            for flow in list(self._flows.values()):
                if room < 1:
                    break
                if (flow.long and not long) or not _fits(flow, room, chosen):
                    continue  # its turn stays: it is among the first of the next pass
                moved = True
                if flow.credit < flow.rows[0].tokens:
                    flow.credit += QUANTUM
                while flow.rows and flow.credit >= flow.rows[0].tokens and _fits(flow, room, chosen):
                    flow.credit -= flow.rows[0].tokens
                    room -= self._pop(flow, chosen)
                if flow.rows and flow.credit < flow.rows[0].tokens:
                    self._flows[id(flow)] = self._flows.pop(id(flow))  # to the end of the round
        return chosen

    def drop(self, units: Sequence[Unit]) -> list[Unit]:
        """Take out all that still wait of the requests these rows are of."""
        flows = {id(unit.flow): unit.flow for unit in units if unit.flow is not None}
        return [unit for flow in flows.values() for unit in self._dropped(flow)]

    def drop_late(self, now: float) -> list[Unit]:
        """Take out the requests whose deadline has passed."""
        late = [flow for flow in self._flows.values() if flow.rows[0].deadline < now]
        return [unit for flow in late for unit in self._dropped(flow)]

    def drop_all(self) -> list[Unit]:
        """Take out everything."""
        return [unit for flow in list(self._flows.values()) for unit in self._dropped(flow)]

    def _take_pressed(self, room: int, now: float, chosen: list[Unit], *, long: bool) -> int:
        """Rows that have reached their latest time, the most pressed first; the tokens there is room for after them."""
        pressed = [
            (flow.rows[0].latest, number, flow)
            for number, flow in enumerate(self._flows.values())
            if flow.rows[0].latest <= now and (long or not flow.long)
        ]
        heapq.heapify(pressed)
        while pressed and room > 0:
            _, number, flow = heapq.heappop(pressed)
            if _fits(flow, room, chosen):
                room -= self._pop(flow, chosen)
                if flow.rows and flow.rows[0].latest <= now:
                    heapq.heappush(pressed, (flow.rows[0].latest, number, flow))
        return room

    def _pop(self, flow: Flow, chosen: list[Unit]) -> int:
        """Move the first row of a flow to those chosen; its tokens."""
        unit = flow.rows.popleft()
        self.ahead -= flow.ahead
        flow.tokens -= unit.tokens
        self.tokens -= unit.tokens
        self.ahead += flow.ahead
        unit.flow = None
        if not flow.rows:
            del self._flows[id(flow)]
        chosen.append(unit)
        return unit.tokens

    def _dropped(self, flow: Flow) -> Iterator[Unit]:
        self.tokens -= flow.tokens
        self.ahead -= flow.ahead
        del self._flows[id(flow)]
        for unit in flow.rows:
            unit.flow = None
            yield unit


def _fits(flow: Flow, room: int, chosen: Sequence[Unit]) -> bool:
    return not chosen or flow.rows[0].tokens <= room
