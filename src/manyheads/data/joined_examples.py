"""Training examples made of neighbouring rows joined to one text.

A head trained on single sentences only is unsure in the middle of a window of 256 tokens. So a share of the rows is read
together with the rows around them, as many as fit into a window.

Which rows are joined is decided once for all epochs, so that stored outputs of frozen layers stay valid and every row is seen
once per epoch. Rows of different documents are never joined; rows without a document count as one document.
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
class JoinedExamples:
    """Example `i` is made of the rows `first_N[i]` to `first_N[i + 1] - 1`."""

    first_N: Ints
    """First row of each example, and the number of rows at the end."""

    def __len__(self) -> int:
        return len(self.first_N) - 1

    def rows(self, example: int) -> range:
        """The rows of an example."""
        return range(int(self.first_N[example]), int(self.first_N[example + 1]))

    def followed_by(self, rows: int) -> JoinedExamples:
        """These examples, followed by a number of single rows."""
        return self.then(not_joined(rows))

    def then(self, other: JoinedExamples) -> JoinedExamples:
        """These examples, followed by those of more rows."""
        return JoinedExamples(np.concatenate([self.first_N, self.first_N[-1] + other.first_N[1:]]))

    def lengths(self, lengths_N: Ints, specials: int) -> Ints:
        """Tokens of each example, from those of its rows, each of which has `specials` special tokens."""
        sums = np.add.reduceat(lengths_N, self.first_N[:-1])
        return np.asarray(sums - specials * (np.diff(self.first_N) - 1), np.int64)


def not_joined(count: int) -> JoinedExamples:
    """Every row as an example of its own."""
    return JoinedExamples(np.arange(count + 1, dtype=np.int64))


def join_examples(
    lengths_N: Ints, clusters: Sequence[str], share: float, *, room: int, specials: int, seed: int, name: str
) -> JoinedExamples:
    """A `share` of the rows joined with their neighbours, up to `room` tokens per example; the others single.

    `lengths_N`: tokens of each row with its `specials`; `clusters`: the document of each.
    """
    blocks = _blocks(lengths_N, clusters, room, specials)
    key = hashlib.sha256(f"{seed}\0{name}\0joined".encode()).digest()
    # Raw words, because they stay the same over versions of numpy (see data/stream.py).
    words_N = np.random.Philox(key=int.from_bytes(key[:16], "big")).random_raw(len(blocks))
    together_N = words_N < np.uint64(min(int(share * 2.0**64), 2**64 - 1))
    first: list[int] = []
    for start, stop, together in zip(blocks, [*blocks[1:], len(lengths_N)], together_N.tolist(), strict=True):
        first.extend([start] if together else range(start, stop))
    return JoinedExamples(np.array([*first, len(lengths_N)], np.int64))


def _blocks(lengths_N: Ints, clusters: Sequence[str], room: int, specials: int) -> list[int]:
    """First rows of blocks of neighbours, each as long as fits into `room`."""
    starts: list[int] = []
    size, cluster = 0, ""
    for i, (length, belongs) in enumerate(zip(lengths_N.tolist(), clusters, strict=True)):
        added = length - specials
        if starts and belongs == cluster and size + added <= room:
            size += added
        else:
            starts.append(i)
            size, cluster = length, belongs
    return starts
