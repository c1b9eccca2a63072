"""New rows mixed with rows that a model was trained on before, so that it does not forget them.

Decided here: as many tokens of the old rows as of the new ones, or all of them if they are fewer (experience replay in equal
parts; Chaudhry et al. 2019, On Tiny Episodic Memories). Each epoch of the new rows takes the next old rows, so all are used
before any is repeated. Both parts are streams of their own; only their addresses are mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manyheads.data.stream import Stream


@dataclass(frozen=True)
class MixedStream:
    """A stream of new examples and one of old examples; the index of the first old one is `first`.

    >>> import numpy as np
    >>> mixed = MixedStream(Stream(np.array([2, 2]), 0, "new"), Stream(np.array([1] * 8), 0, "old"), first=2)
    >>> mixed.tokens_per_epoch, len(mixed), len({*mixed.between(0, 16)})
    (8, 6, 10)
    """

    new: Stream
    old: Stream
    first: int

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens in an epoch of the new examples, with those of the old examples among them."""
        return self.new.tokens_per_epoch + min(self.new.tokens_per_epoch, self.old.tokens_per_epoch)

    @property
    def old_share(self) -> float:
        """The part of the old examples that an epoch holds."""
        return min(1.0, self.new.tokens_per_epoch / self.old.tokens_per_epoch)

    def __len__(self) -> int:
        """Examples in an epoch, on average."""
        return len(self.new) + round(self.old_share * len(self.old))

    def sizes(self, indices: Sequence[int]) -> list[int]:
        """Tokens of examples."""
        stop = self.first + len(self.old)
        found = [(self.old, index - self.first) if self.first <= index < stop
                 else (self.new, index if index < self.first else index - len(self.old)) for index in indices]  # fmt: skip
        return [stream.sizes([place])[0] for stream, place in found]

    def between(self, token_from: int, token_to: int) -> list[int]:
        """Indices of the examples in a range of tokens; consecutive ranges partition both streams exactly."""
        start, stop = self._of_new(token_from), self._of_new(token_to)
        new = (index if index < self.first else index + len(self.old) for index in self.new.between(start, stop))
        return [*new, *(self.first + index for index in self.old.between(token_from - start, token_to - stop))]

    def once(self, most_tokens: int) -> list[int]:
        """Each example once, new and old ones evenly mixed, up to a number of tokens; new ones go first where that is few."""
        new = self.new.once(most_tokens)
        old = self.old.once(max(0, most_tokens - sum(self.new.sizes(new))))
        placed = [((i + 0.5) / len(old), self.first + index) for i, index in enumerate(old)]
        for i, index in enumerate(new):
            placed.append(((i + 0.5) / len(new), index if index < self.first else index + len(self.old)))
        return [index for _, index in sorted(placed)]

    def _of_new(self, token: int) -> int:
        """How many of the first tokens belong to new examples."""
        return token * self.new.tokens_per_epoch // self.tokens_per_epoch
