"""Requests over plain sockets. Arrivals are open: they come at random times, whether or not the server keeps up.

A client of this kind takes 0.1 ms a request; ready-made ones take a millisecond, which two cores have no room for.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

LOWEST = 0.5
"""Requests a second: what cannot answer so many is said to answer none."""
Call = tuple[str, str, bytes]
"""Base URL, path, body."""
Asked = Call | list[Call]
"""A request, or several at once that make up one: answered when the last of them is."""


@dataclass(slots=True)
class Heard:
    """What came of one request. `status` 0: accepted, then nothing; -1: no connection."""

    status: int
    seconds: float
    at_s: float
    """When it was sent, after the first."""
    body: bytes = b""
    retry_after: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of many."""

    heard: list[Heard] = field(default_factory=list)
    took_s: float = 0.0

    def seconds(self, status: int = 200) -> list[float]:
        return sorted(each.seconds for each in self.heard if each.status == status)

    def quantile(self, share: float, status: int = 200) -> float:
        """Nearest rank; infinite where there is none."""
        found = self.seconds(status)
        return found[max(0, math.ceil(share * len(found)) - 1)] if found else math.inf

    def statuses(self) -> dict[str, int]:
        return {str(status): count for status, count in sorted(Counter(each.status for each in self.heard).items())}


class Client:
    """Connections that are kept for the next request."""

    def __init__(self, *, keep: bool = True, patience_s: float = 120.0) -> None:
        self.keep = keep
        self.patience_s = patience_s
        self._idle: dict[str, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def post(self, call: Call, began: float = 0.0) -> Heard:
        """One request and its answer."""
        base, path, body = call
        started = time.perf_counter()
        status, answer, again = -1, b"", False
        try:
            async with asyncio.timeout(self.patience_s):
                for fresh in (False, True):
                    status = -1
                    reader, writer = await self._connection(base, fresh=fresh)
                    status = 0
                    try:
                        status, answer, again = await self._asked(reader, writer, base, path, body)
                        break
                    except (OSError, EOFError):
                        writer.close()
                        if fresh or not self.keep:
                            raise  # a kept connection may have been closed in the meantime: once more on a new one
        except (OSError, EOFError, TimeoutError):
            pass
        ended = time.perf_counter()
        return Heard(status, ended - started, started - began, answer, again)

    async def post_all(self, asked: Asked, began: float = 0.0) -> Heard:
        """The same for several at once: the slowest, or what went wrong."""
        if isinstance(asked, tuple):
            return await self.post(asked, began)
        heard = await asyncio.gather(*(self.post(call, began) for call in asked))
        return max(heard, key=lambda each: (each.status != 200, each.seconds))

    async def _connection(self, base: str, *, fresh: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        idle = self._idle.setdefault(base, [])
        if idle and not fresh:
            return idle.pop()
        host, port = base.removeprefix("http://").split(":")
        return await asyncio.open_connection(host, int(port))

    async def _asked(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, base: str, path: str, body: bytes
    ) -> tuple[int, bytes, bool]:
        kept = "keep-alive" if self.keep else "close"
        head = (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: {kept}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")  # fmt: skip
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        answer = await reader.readexactly(int(headers.get(b"content-length", b"0")))
        if self.keep and headers.get(b"connection") != b"close":
            self._idle[base].append((reader, writer))
        else:
            writer.close()
        return int(lines[0].split()[1]), answer, b"retry-after" in headers

    def close(self) -> None:
        """Let go of all connections."""
        for idle in self._idle.values():
            for _, writer in idle:
                writer.close()


async def at_random(client: Client, calls: Sequence[Asked], rate: float, seconds: float, seed: int = 0) -> Outcome:
    """`rate` requests a second for so long, at the times of a Poisson process; all answers are waited for."""
    draw, outcome, tasks = random.Random(seed), Outcome(), []
    began = time.perf_counter()
    due = began
    while (due := due + draw.expovariate(rate)) < began + seconds:
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        tasks.append(asyncio.create_task(client.post_all(draw.choice(calls), began)))
    outcome.heard = list(await asyncio.gather(*tasks))
    outcome.took_s = time.perf_counter() - began
    return outcome


def run_open(calls: Sequence[Asked], rate: float, seconds: float, seed: int = 0, *, keep: bool = True) -> Outcome:
    """The same, from outside any event loop."""

    async def run() -> Outcome:
        client = Client(keep=keep)
        try:
            return await at_random(client, calls, rate, seconds, seed)
        finally:
            client.close()

    return asyncio.run(run())


def run_all(calls: Sequence[Call], *, at_once: int) -> list[Heard]:
    """Each of these once, so many at a time; in their order."""

    async def run() -> list[Heard]:
        client, room = Client(), asyncio.Semaphore(at_once)

        async def one(call: Call) -> Heard:
            async with room:
                return await client.post(call)

        try:
            return list(await asyncio.gather(*map(one, calls)))
        finally:
            client.close()

    return asyncio.run(run())


def capacity(
    measure: Callable[[float], Outcome], *, p99_s: float, first: float, steps: int
) -> tuple[float, list[dict[str, Any]]]:
    """The highest rate at which 99 % are answered within `p99_s` and none is refused; and each rate that was tried.

    Doubled or halved until it lies between two rates, then bisected `steps` times.
    """
    tried: list[dict[str, Any]] = []

    def fits(rate: float) -> bool:
        outcome = measure(rate)
        p99 = outcome.quantile(0.99)
        good = bool(outcome.heard) and p99 < p99_s and set(outcome.statuses()) == {"200"}
        tried.append({"rate": round(rate, 2), "requests": len(outcome.heard),
                      "p50_ms": round(1000 * outcome.quantile(0.5), 1),
                      "p99_ms": round(1000 * min(p99, 1e6), 1), "statuses": outcome.statuses(), "fits": good})  # fmt: skip
        print(json.dumps(tried[-1]), flush=True)
        return good

    low, high = 0.0, first
    while fits(high):
        low, high = high, 2 * high
    while low == 0.0 and high >= 2 * LOWEST:
        if fits(high / 2):
            low = high / 2
        else:
            high /= 2
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low, tried
