"""Ranking metrics against scikit-learn and plain definitions."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from manyheads.metrics.ranking import ndcg_at_k, reciprocal_rank_at_k


@pytest.mark.parametrize("seed", range(20))
def test_ndcg_is_that_of_scikit_learn_with_ties_and_without(seed: int) -> None:
    draw = np.random.default_rng(seed)
    size = int(draw.integers(2, 30))
    gain_P = draw.integers(0, 4, size).astype(float)
    gain_P[0] = 1
    score_P = draw.integers(0, 6, size) / 6 if seed % 2 else draw.normal(size=size)
    for k in (1, 5, 10):
        assert ndcg_at_k(gain_P, score_P, k) == pytest.approx(ndcg_score(gain_P[None], score_P[None], k=k), abs=1e-12)


def test_reciprocal_rank_is_the_mean_over_all_orders_of_equal_scores() -> None:
    score_P = np.array([0.5, 0.9, 0.5, 0.5, 0.1, 0.5])
    for relevant in ((0, 2), (3,), (4,), (0, 2, 3, 5), (1, 4)):
        relevant_P = np.isin(np.arange(6), relevant)
        found = []
        for order in permutations(range(6)):
            place = sorted(order, key=lambda i: -score_P[i])
            rank = next(r for r, i in enumerate(place, 1) if relevant_P[i])
            found.append(1 / rank if rank <= 3 else 0.0)
        assert reciprocal_rank_at_k(relevant_P, score_P, 3) == pytest.approx(np.mean(found), abs=1e-12)


def test_lists_without_gains_and_empty_ones_count_nothing() -> None:
    nothing = np.zeros(0)
    assert ndcg_at_k(np.zeros(3), np.arange(3)) == ndcg_at_k(nothing, nothing) == 0
    assert reciprocal_rank_at_k(np.zeros(3), np.arange(3)) == reciprocal_rank_at_k(nothing, nothing) == 0
