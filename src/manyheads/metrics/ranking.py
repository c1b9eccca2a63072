"""Metrics of a ranked list: how high its relevant entries are.

Decided here: equal scores stand for every order of their entries, and the metric is its mean over these. A model that gives
all entries one score then has the value of a random order, whatever the order of the file.
"""

from __future__ import annotations

from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def ndcg_at_k(gain_P: Array, score_P: Array, k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first `k` entries; 0 without gains. Järvelin & Kekäläinen 2002.

    The gain counts as it is (not 2 ** gain - 1), as in trec_eval and scikit-learn. Both have shape (P,); gains are 0 or more.

    >>> round(ndcg_at_k(np.array([0.0, 1.0]), np.array([0.9, 0.1])), 4)
    0.6309
    """
    gain_P = np.asarray(gain_P, np.float64)
    discount_P = 1 / np.log2(np.arange(len(gain_P)) + 2)
    discount_P[k:] = 0
    best = float(np.sort(gain_P)[::-1] @ discount_P)
    order, bounds = _tie_groups(score_P)
    ranked = gain_P[order]
    found = sum(float(ranked[a:b].mean() * discount_P[a:b].sum()) for a, b in pairwise(bounds))
    return found / best if best else 0.0


def reciprocal_rank_at_k(relevant_P: Array, score_P: Array, k: int = 10) -> float:
    """1 over the rank of the first relevant entry, 0 if it is beyond `k`. Both arguments have shape (P,).

    >>> reciprocal_rank_at_k(np.array([False, True]), np.array([0.9, 0.1]))
    0.5
    >>> reciprocal_rank_at_k(np.array([False, True]), np.array([0.5, 0.5]))
    0.75
    """
    order, bounds = _tie_groups(score_P)
    ranked = np.asarray(relevant_P, bool)[order]
    for start, stop in pairwise(bounds):
        size, right = stop - start, int(ranked[start:stop].sum())
        if right:
            # Of all ways to place `right` entries among `size`, those whose first one is at place i.
            first = ((comb(size - i, right - 1), start + i) for i in range(1, size - right + 2))
            return sum(ways / rank for ways, rank in first if rank <= k) / comb(size, right)
    return 0.0


def _tie_groups(score_P: Array) -> tuple[Array, list[int]]:
    """Entries from the highest score to the lowest, and the bounds of groups of equal scores."""
    order = np.argsort(-np.asarray(score_P, np.float64), kind="stable")
    changes = np.flatnonzero(np.diff(np.asarray(score_P, np.float64)[order])) + 1
    return order, [0, *changes.tolist(), len(order)] if len(order) else [0]
