"""What is drawn from a task's training data as one: a row, or neighbouring rows joined to one text.

A head that was only ever shown single sentences is unsure in the middle of a window of 256 tokens. A share of the rows is
therefore read as long texts are: together with the rows around them, as many as fit into a window.

Decided here: which rows are joined is settled once for all epochs, so that what is kept of frozen layers stays of use and
every row is seen once in each epoch. Rows of different documents are never joined; rows that name none are taken for one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Units:
    """Unit `i` holds the rows `first_N[i]` to `first_N[i + 1] - 1`."""

    first_N: Ints
    """First row of each unit, and the number of rows at the end."""

    def __len__(self) -> int:
        return len(self.first_N) - 1

    def rows(self, unit: int) -> range:
        """The rows of a unit."""
        return range(int(self.first_N[unit]), int(self.first_N[unit + 1]))

    def followed_by(self, rows: int) -> Units:
        """These units, and so many rows behind theirs by themselves."""
        return Units(np.concatenate([self.first_N, self.first_N[-1] + np.arange(1, rows + 1)])) if rows else self

    def lengths(self, lengths_N: Ints, specials: int) -> Ints:
        """Tokens of each unit, from those of its rows, each with `specials` of its own."""
        sums = np.add.reduceat(lengths_N, self.first_N[:-1])
        return np.asarray(sums - specials * (np.diff(self.first_N) - 1), np.int64)


def alone(count: int) -> Units:
    """Every row by itself."""
    return Units(np.arange(count + 1, dtype=np.int64))


def joined(
    lengths_N: Ints, clusters: Sequence[str], share: float, *, room: int, specials: int, seed: int, name: str
) -> Units:
    """A `share` of the rows in units of neighbours, of at most `room` tokens each; the others by themselves.

    `lengths_N`: tokens of each row with its `specials`; `clusters`: the document of each.
    """
    blocks = _blocks(lengths_N, clusters, room, specials)
    key = hashlib.sha256(f"{seed}\0{name}\0joined".encode()).digest()
    # Raw words, for they stay the same over versions of numpy (see data/stream.py).
    words_N = np.random.Philox(key=int.from_bytes(key[:16], "big")).random_raw(len(blocks))
    together_N = words_N < np.uint64(min(int(share * 2.0**64), 2**64 - 1))
    first: list[int] = []
    for start, stop, together in zip(blocks, [*blocks[1:], len(lengths_N)], together_N.tolist(), strict=True):
        first.extend([start] if together else range(start, stop))
    return Units(np.array([*first, len(lengths_N)], np.int64))


def _blocks(lengths_N: Ints, clusters: Sequence[str], room: int, specials: int) -> list[int]:
    """First rows of stretches of neighbours, each as long as fits into `room`."""
    starts: list[int] = []
    size, cluster = 0, ""
    for i, (length, belongs) in enumerate(zip(lengths_N.tolist(), clusters, strict=True)):
        more = length - specials
        if starts and belongs == cluster and size + more <= room:
            size += more
        else:
            starts.append(i)
            size, cluster = length, belongs
    return starts
