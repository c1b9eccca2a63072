"""Which waiting rows go into the next pass. No lock and no clock: `queue.py` has both.

Decided here: requests take turns, not rows. Deficit round robin (Shreedhar and Varghese 1996) gives each request the same
number of tokens per round, so a request of one row overtakes one of 1,000, and two large ones share equally. Round robin
alone would break the deadline of a large request when small ones keep coming, so every row also has a due time: spread
over the time to the deadline, it is the pace at which the request ends in time. Rows that are due go first. Each request
thus gets its fair share or its pace, whichever is more.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

QUANTUM = 256
"""Tokens a request gets per round. A request of no more counts as small: its first turn answers it."""


class Failure(Enum):
    """Why a row has no answer."""

    EXPIRED = "the deadline passed before it was answered"
    CANCELLED = "the client closed the connection"
    CRASHED = "workers died over it, three times"


@dataclass(slots=True, eq=False)
class QueuedRow:
    """A row on its way. `finish` is called once, from any thread, with its answer or its failure."""

    row: Mapping[str, Any]
    tasks: Sequence[str]
    tokens: int
    """Estimated."""
    deadline: float
    """On the queue's clock, time.monotonic(); the same for all rows of a request."""
    finish: Callable[[dict[str, Any] | Failure], None]
    labels: str | None = None
    """To choose among, as `labels.packed` writes them."""
    cancelled: bool = False
    attempts: int = 0
    due: float = 0.0
    """From then on it goes before rows that are not due."""
    arrived: float = 0.0
    started: float = 0.0
    flow: Flow | None = None
    """The flow it waits in."""


@dataclass(slots=True, eq=False)
class Flow:
    """The waiting rows of a request, in order. Rows longer than a pass form a flow of their own."""

    rows: deque[QueuedRow]
    long: bool
    tokens: int
    credit: int = 0
    """Tokens it may still use in this round."""

    @property
    def tokens_ahead(self) -> int:
        """Tokens that go before a small request arriving now."""
        return min(self.tokens, QUANTUM)


class Scheduler:
    """Flows, in the order of their turns."""

    def __init__(self) -> None:
        self.tokens = 0
        self.tokens_ahead = 0
        """Tokens that go before a small request arriving now."""
        self._flows: dict[int, Flow] = {}

    def __len__(self) -> int:
        return sum(len(flow.rows) for flow in self._flows.values())

    def add(self, rows: Sequence[QueuedRow], long_tokens: int) -> None:
        """Add the rows of one request; those of more than `long_tokens` wait for a worker that takes long rows."""
        for long in (False, True):
            members = deque(row for row in rows if (row.tokens > long_tokens) == long)
            if members:
                flow = Flow(members, long, sum(row.tokens for row in members))
                for row in members:
                    row.flow = flow
                self._flows[id(flow)] = flow
                self.tokens += flow.tokens
                self.tokens_ahead += flow.tokens_ahead

    def peek(self, *, long: bool) -> QueuedRow | None:
        """A row that could go next."""
        return next((flow.rows[0] for flow in self._flows.values() if long or not flow.long), None)

    def take(self, tokens: int, now: float, *, long: bool) -> list[QueuedRow]:
        """The rows of a pass of at most `tokens`; at least one, if any waits, however long it is."""
        chosen: list[QueuedRow] = []
        room = self._take_due(tokens, now, chosen, long=long)
        moved = True
        while moved and room > 0:
            moved = False
            for flow in list(self._flows.values()):
                if room < 1:
                    break
                if (flow.long and not long) or not _fits(flow, room, chosen):
                    continue  # it keeps its turn, among the first of the next pass
                moved = True
                if flow.credit < flow.rows[0].tokens:
                    flow.credit += QUANTUM
                while flow.rows and flow.credit >= flow.rows[0].tokens and _fits(flow, room, chosen):
                    flow.credit -= flow.rows[0].tokens
                    room -= self._pop(flow, chosen)
                if flow.rows and flow.credit < flow.rows[0].tokens:
                    self._flows[id(flow)] = self._flows.pop(id(flow))  # to the end of the round
        return chosen

    def drop(self, rows: Sequence[QueuedRow]) -> list[QueuedRow]:
        """Remove the requests these rows belong to; their waiting rows."""
        flows = {id(row.flow): row.flow for row in rows if row.flow is not None}
        return [row for flow in flows.values() for row in self._remove(flow)]

    def drop_expired(self, now: float) -> list[QueuedRow]:
        """Remove the requests whose deadline has passed."""
        expired = [flow for flow in self._flows.values() if flow.rows[0].deadline < now]
        return [row for flow in expired for row in self._remove(flow)]

    def drop_all(self) -> list[QueuedRow]:
        """Remove everything."""
        return [row for flow in list(self._flows.values()) for row in self._remove(flow)]

    def _take_due(self, room: int, now: float, chosen: list[QueuedRow], *, long: bool) -> int:
        """Choose rows that are due, the most urgent first; the tokens of room left."""
        due = [
            (flow.rows[0].due, number, flow)
            for number, flow in enumerate(self._flows.values())
            if flow.rows[0].due <= now and (long or not flow.long)
        ]
        heapq.heapify(due)
        while due and room > 0:
            _, number, flow = heapq.heappop(due)
            if _fits(flow, room, chosen):
                room -= self._pop(flow, chosen)
                if flow.rows and flow.rows[0].due <= now:
                    heapq.heappush(due, (flow.rows[0].due, number, flow))
        return room

    def _pop(self, flow: Flow, chosen: list[QueuedRow]) -> int:
        """Move the first row of a flow to the chosen ones; its tokens."""
        row = flow.rows.popleft()
        self.tokens_ahead -= flow.tokens_ahead
        flow.tokens -= row.tokens
        self.tokens -= row.tokens
        self.tokens_ahead += flow.tokens_ahead
        row.flow = None
        if not flow.rows:
            del self._flows[id(flow)]
        chosen.append(row)
        return row.tokens

    def _remove(self, flow: Flow) -> Iterator[QueuedRow]:
        self.tokens -= flow.tokens
        self.tokens_ahead -= flow.tokens_ahead
        del self._flows[id(flow)]
        for row in flow.rows:
            row.flow = None
            yield row


def _fits(flow: Flow, room: int, chosen: Sequence[QueuedRow]) -> bool:
    return not chosen or flow.rows[0].tokens <= room
