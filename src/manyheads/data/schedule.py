"""Exact sums of tokens over the steps of a sampling schedule, as integers in millionths of a token.

If all steps of a segment have the same shares, a sum is one multiplication. Otherwise it is read from cumulative tables,
extended on demand; computing one twice gives the same result, so concurrent threads do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

PARTS = 1_000_000
"""Of a token, or of the shares of a step."""
CHUNK_STEPS = 256
"""Rows of a table computed at once: 2 ms of work with five tasks."""


class ScheduleSegment:
    """A segment of a sampling schedule: steps from `start` on with the same active tasks and scores."""

    def __init__(
        self, start: int, base: Mapping[str, int], rates: Callable[[int], Mapping[str, int]], steady: bool
    ) -> None:
        """`base`: millionths of a token of each task before `start`; `rates`: those of the active tasks in a step."""
        self._start = start
        self._base = base
        self._rates = rates
        self._steady = rates(start) if steady else None
        self._columns = {task: k for k, task in enumerate(base)}
        self._chunks: dict[int, npt.NDArray[np.int64]] = {}

    def before(self, task: str, step: int) -> int:
        """Millionths of a token of a task before a step of the segment."""
        if self._steady is not None:
            return self._base[task] + (step - self._start) * self._steady.get(task, 0)
        chunk, row = divmod(step - self._start, CHUNK_STEPS)
        return self._base[task] + int(self._chunk(chunk)[row, self._columns[task]])

    def _chunk(self, chunk: int) -> npt.NDArray[np.int64]:
        """Millionths since `start`, steps by tasks; int64 can hold nine trillion tokens in a segment."""
        for i in range(len(self._chunks), chunk + 1):
            first = self._start + i * CHUNK_STEPS
            rates = map(self._rates, range(first, first + CHUNK_STEPS))
            sums = np.zeros((CHUNK_STEPS + 1, len(self._base)), np.int64)
            np.cumsum([[rate.get(task, 0) for task in self._base] for rate in rates], axis=0, out=sums[1:])
            self._chunks[i] = sums + self._chunks[i - 1][-1] if i else sums
        return self._chunks[chunk]


def millionths(weights: Mapping[str, float]) -> dict[str, int]:
    """Whole parts that add up to PARTS, at least one for each task, by largest remainder.

    >>> millionths({"a": 2, "b": 1})
    {'a': 666667, 'b': 333333}
    """
    total = sum(weights.values())
    exact = {task: weight / total * PARTS for task, weight in weights.items()}
    parts = {task: max(int(value), 1) for task, value in exact.items()}
    by_remainder = sorted(exact, key=lambda task: (parts[task] - exact[task], task))
    missing = PARTS - sum(parts.values())
    for i in range(abs(missing)):
        if missing > 0:
            parts[by_remainder[i % len(parts)]] += 1
        else:
            parts[max(parts, key=lambda task: parts[task])] -= 1
    return parts
