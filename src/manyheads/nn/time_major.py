"""Sequences read step by step: all first rows, then all second rows, so that the only loop of a recursion is over time.

Sequences are sorted by length, so one that has ended takes no further part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CELLS = 2**18
"""Sequences × K² and rows × K that are worked on at once: 2 MB each, whatever the size of the call."""


class TimeMajor(NamedTuple):
    """The order of rows laid end to end when they are read step by step, longest sequence first."""

    row_T: Ints
    """Row at each place of that order."""
    active_L: Ints
    """How many sequences reach each step; never increases."""
    sequence_T: Ints
    """Sequence at each place; the first step has every non-empty sequence once, longest first."""


def time_major(lengths: Sequence[int]) -> TimeMajor:
    """The order in which a recursion over time reads sequences of these lengths.

    >>> time_major([2, 3]).row_T.tolist()
    [2, 0, 3, 1, 4]
    """
    length_S = np.asarray(lengths, np.int64).reshape(-1)
    rank_S = np.empty_like(length_S)
    rank_S[np.argsort(-length_S, kind="stable")] = np.arange(len(length_S))
    sequence_T = np.repeat(np.arange(len(length_S)), length_S)
    position_T = np.arange(len(sequence_T)) - (np.cumsum(length_S) - length_S)[sequence_T]
    row_T = np.lexsort((rank_S[sequence_T], position_T))
    return TimeMajor(row_T, np.bincount(position_T), sequence_T[row_T])


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the sequences of a call, longest first."""

    members: list[int]
    """Their indices in the call."""
    lengths: list[int]
    emissions_TK: Doubles
    """Their rows laid end to end."""
    row_T: Ints
    """Row at each place of the time-major order."""
    place_T: Ints
    """Place of each row in the time-major order."""
    steps: list[slice]
    """Places of each step in the time-major order."""

    def split(self, value_TX: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Rows laid end to end, as one array per sequence."""
        return np.split(value_TX, np.cumsum(self.lengths)[:-1])


def batches(emissions: Sequence[Floats], tags: int) -> Iterator[Batch]:
    """All sequences that have rows, in batches of bounded size and similar lengths."""
    for index, emissions_LK in enumerate(emissions):
        if emissions_LK.ndim != 2 or emissions_LK.shape[1] != tags:
            raise ValueError(f"emissions {index} are {emissions_LK.shape}; the transitions are for {tags} tags")
    lengths = [len(emissions_LK) for emissions_LK in emissions]
    order = [int(i) for i in np.argsort([-length for length in lengths], kind="stable") if lengths[i]]
    while order:
        members, rows = [order[0]], lengths[order[0]]
        for index in order[1:]:
            rows += lengths[index]
            if (len(members) + 1) * tags**2 > CELLS or rows * tags > CELLS:
                break
            members.append(index)
        order = order[len(members) :]
        member_lengths = [lengths[index] for index in members]
        row_T, active_L, _ = time_major(member_lengths)
        stops = np.cumsum(active_L).tolist()
        yield Batch(
            members,
            member_lengths,
            np.concatenate([emissions[index] for index in members]).astype(np.float64, copy=False),
            row_T,
            np.argsort(row_T),
            [slice(start, stop) for start, stop in pairwise([0, *stops])],
        )
