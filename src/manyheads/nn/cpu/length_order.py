"""Sequences sorted by length, so that attention on a CPU takes all sequences of one length in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch

from manyheads.text.pack import Pack


@dataclass(frozen=True, slots=True)
class LengthOrder:
    """The order in which the layers read the sequences of a pack: `order` is None where they keep their places."""

    lengths: tuple[int, ...]
    order: Sequence[int] | None

    @staticmethod
    def of(pack: Pack) -> LengthOrder:
        """Sorted where equal lengths are not neighbours yet; never on a GPU, whose attention takes them all at once."""
        lengths = pack.segments.lengths
        if pack.ids_T.device.type != "cpu" or len(equal_lengths(lengths)) == len(set(lengths)):
            return LengthOrder(lengths, None)
        return LengthOrder(lengths, sorted(range(len(lengths)), key=lengths.__getitem__))

    def sort_pack(self, pack: Pack) -> Pack:
        """The pack in this order."""
        return pack if self.order is None else pack.only(self.order)

    def sort(self, x_TD: torch.Tensor) -> torch.Tensor:
        """The rows of a pack's tokens in this order."""
        return x_TD if self.order is None else _moved(x_TD, self.lengths, self.order)

    def restore(self, x_TD: torch.Tensor) -> torch.Tensor:
        """Undo `sort`."""
        if self.order is None:
            return x_TD
        places = sorted(range(len(self.order)), key=self.order.__getitem__)
        return _moved(x_TD, [self.lengths[s] for s in self.order], places)


@lru_cache(maxsize=4)
def equal_lengths(lengths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Runs of neighbours of equal length, as (length, count).

    >>> equal_lengths((7, 7, 4, 7))
    ((7, 2), (4, 1), (7, 1))
    """
    return tuple((length, len(list(run))) for length, run in groupby(lengths))


def _moved(x_T: torch.Tensor, lengths: Sequence[int], order: Sequence[int]) -> torch.Tensor:
    """Split and cat: the gradient of an index is several times slower."""
    parts = x_T.split_with_sizes(list(lengths))
    return torch.cat([parts[s] for s in order])
