"""Intervals of one model's score."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from manyheads.metrics import resampling
from manyheads.metrics.evidence import Ranks, Tally
from manyheads.metrics.resampling import cluster_weights, score_interval


def accuracy_of(right_C: np.ndarray) -> Tally:
    return Tally(np.stack([right_C, np.ones(len(right_C))], axis=1), "mean")


def test_the_interval_is_that_of_scipys_percentile_bootstrap() -> None:
    right_C = (np.random.default_rng(1).random(300) < 0.8).astype(float)
    theirs = scipy.stats.bootstrap(
        (right_C,), np.mean, n_resamples=5000, method="percentile", rng=2
    ).confidence_interval
    ours = score_interval(accuracy_of(right_C), float(right_C.mean()))
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_intervals_cover_the_true_score_about_19_times_in_20() -> None:
    covered = 0
    for seed in range(200):
        right_C = (np.random.default_rng(seed).random(150) < 0.7).astype(float)
        low, high = score_interval(accuracy_of(right_C), float(right_C.mean())) or (1.0, 0.0)
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 198


def test_examples_of_one_cluster_are_drawn_together() -> None:
    """Ten copies of each example say no more than one of each."""
    right_C = (np.random.default_rng(3).random(100) < 0.8).astype(float)
    alone = score_interval(accuracy_of(right_C), float(right_C.mean()))
    copied = score_interval(Tally(10 * accuracy_of(right_C).counts_CM, "mean"), float(right_C.mean()))
    assert alone == pytest.approx(copied)


def test_there_is_no_interval_for_fewer_than_ten_clusters_and_none_leaves_the_range_of_scores() -> None:
    assert score_interval(accuracy_of(np.ones(9)), 1.0) is None
    assert score_interval(accuracy_of(np.ones(10)), 1.0) == (1.0, 1.0)
    values = np.random.default_rng(0).random(12)
    low, high = score_interval(Ranks(np.arange(12), values, -values), -1.0) or (0.0, 0.0)
    assert low == -1.0 <= high


def test_every_sample_has_as_many_clusters_as_the_data_however_large_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = np.concatenate(list(cluster_weights(40, 25, seed=1)))
    assert (whole.sum(axis=1) == 40).all()
    monkeypatch.setattr(resampling, "CELLS", 100)
    assert (np.concatenate(list(cluster_weights(40, 25, seed=1))) == whole).all()
