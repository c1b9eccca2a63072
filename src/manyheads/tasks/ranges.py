"""Ranges of numbers, laid end to end."""

from __future__ import annotations

import numpy as np

from manyheads.tasks.inputs import Array


def ranges(start_N: Array, stop_N: Array) -> Array:
    """The numbers of N ranges, end to end.

    >>> ranges(np.array([5, 1]), np.array([7, 2])).tolist()
    [5, 6, 1]
    """
    count_N = stop_N - start_N
    return np.arange(count_N.sum()) + np.repeat(start_N - np.cumsum(count_N) + count_N, count_N)
