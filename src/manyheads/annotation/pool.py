"""The rows of a stream with the highest scores, in bounded memory and without duplicates."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manyheads.annotation.identity import Key


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A row that may be picked."""

    row: Mapping[str, Any]
    key: Key
    score: float
    """0 to 1, from `scores.py`."""
    residual: npt.NDArray[np.float32] | None = None
    """Probabilities of the labels minus 1 for the most likely one, where there is a single choice of a label."""


class Pool:
    """The `limit` best candidates seen so far."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._heap: list[tuple[float, int, Candidate]] = []
        self._keys: set[Key] = set()
        self.seen = 0
        """Candidates added, duplicates included."""
        self.duplicates = 0
        """Candidates that were in the pool already."""

    def add(self, candidate: Candidate) -> None:
        """Take a candidate in, in place of the worst one if the pool is full. Of equal rows the first stays."""
        self.seen += 1
        if candidate.key in self._keys:
            self.duplicates += 1
            return
        entry = (candidate.score, -self.seen, candidate)
        if len(self._heap) < self.limit:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            self._keys.discard(heapq.heappushpop(self._heap, entry)[2].key)
        else:
            return
        self._keys.add(candidate.key)

    def best(self) -> list[Candidate]:
        """The candidates, best first; equal scores in the order of the input."""
        return [candidate for _, _, candidate in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]
