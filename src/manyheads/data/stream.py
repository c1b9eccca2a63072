"""The endless, shuffled stream of one task's examples, addressed by tokens.

All epochs, each in its own order, are laid end to end; an example belongs to the step that contains its first token. So what
a step trains on is a function of two numbers, resuming needs no state, and every example is seen once per epoch whatever the
size of the steps.

An order is the argsort of raw Philox words, not `Generator.permutation`: numpy guarantees the words of a bit generator over
versions, but not what a generator makes of them (NEP 19).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

EPOCHS_HELD = 3
"""A step rarely touches more than two epochs; the third is for callers that look back."""


class Stream:
    """Order of a task's examples. A pure function of (seed, name, lengths)."""

    def __init__(self, lengths: npt.NDArray[np.integer], seed: int, name: str) -> None:
        """`lengths`: tokens of each example, in all of its windows. Raises ValueError for none or one below 1."""
        lengths_N = np.asarray(lengths, np.int64)
        if lengths_N.ndim != 1 or not len(lengths_N) or lengths_N.min() < 1:
            raise ValueError("a stream needs at least one example, each of at least one token")
        self._lengths_N = lengths_N
        self._seed = seed
        self._name = name
        self.tokens_per_epoch = int(lengths_N.sum())
        self._laid = lru_cache(EPOCHS_HELD)(self._lay)

    def __len__(self) -> int:
        """Examples in an epoch."""
        return len(self._lengths_N)

    def sizes(self, indices: Sequence[int]) -> list[int]:
        """Tokens of examples."""
        sizes: list[int] = self._lengths_N[list(indices)].tolist()
        return sizes

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Every index once, in the order of this epoch."""
        return self._laid(epoch)[0]

    def between(self, token_from: int, token_to: int) -> list[int]:
        """Indices of the examples whose first token lies in [token_from, token_to), in order.

        Consecutive ranges partition the stream exactly. A range longer than an epoch holds an example several times.
        Raises ValueError for a range that starts below 0 or ends before it starts.
        """
        if not 0 <= token_from <= token_to:
            raise ValueError(f"not a range of tokens: {token_from} to {token_to}")
        found: list[int] = []
        total = self.tokens_per_epoch
        for epoch in range(token_from // total, -(-token_to // total)):
            order_N, start_N = self._laid(epoch)
            first, last = np.searchsorted(start_N, (token_from - epoch * total, token_to - epoch * total))
            found.extend(order_N[first:last].tolist())
        return found

    def once(self, most_tokens: int) -> list[int]:
        """Each example once, in the order of the first epoch, up to a number of tokens."""
        return self.between(0, min(self.tokens_per_epoch, most_tokens))

    def _lay(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Indices in the order of an epoch, and the first token of each in the epoch."""
        key = hashlib.sha256(f"{self._seed}\0{self._name}\0{epoch}".encode()).digest()
        words_N = np.random.Philox(key=int.from_bytes(key[:16], "big")).random_raw(len(self._lengths_N))
        order_N = np.argsort(words_N, kind="stable").astype(np.int64)
        lengths_N = self._lengths_N[order_N]
        order_N.flags.writeable = False
        return order_N, np.cumsum(lengths_N) - lengths_N
