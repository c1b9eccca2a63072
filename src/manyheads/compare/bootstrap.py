"""Variance of the difference between two models over seeds and test sets, by a bootstrap of clusters.

Shape letters: B bootstrap samples, C clusters, S paired seeds.

The difference of seed s is theta + a_s + u + e_s: `a_s` is the effect of the seed, `u` that of the test set, `e_s` their
interaction. The mean of S seeds has the variance (A + E) / S + U. Clusters are sampled with replacement, the same ones for
both models and all seeds, and each corpus metric is computed again; then

- the variance of the seeds' differences on the whole test set estimates A + E;
- the covariance of different seeds' differences over the samples estimates U, which is what two seeds have in common.

So seeds are resampled in closed form: the variance of a mean of seeds sampled with replacement is known, and known to be
(S - 1) / S of the right one. The usual way, sampling seeds and clusters together, counts E three times (Owen 2007, The
pigeonhole bootstrap) and A too little; `statistics.py` has the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from manyheads.metrics.evidence import Evidence
from manyheads.metrics.resampling import cluster_weights

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Variance:
    """Variance of the mean difference of several seeds, by source.

    >>> parts = Variance(each_seed=6e-4, test_set=1e-4, seeds=6, clusters=100)
    >>> round(parts.total, 6)
    0.0002
    >>> round(parts.half_width(0.05), 4)
    0.0325
    """

    each_seed: float
    """Of one seed's difference on a given test set (A + E); 0 if unknown, with only one seed."""
    test_set: float
    """Of the effect of a test set of this size (U); with one seed U + E."""
    seeds: int
    clusters: int

    @property
    def total(self) -> float:
        """(A + E) / S + U."""
        return self.each_seed / self.seeds + self.test_set

    def half_width(self, p: float) -> float:
        """Half-width of the interval whose two-sided test has the level `p`: the root of the sum of t**2 * variance.

        Each part has the t quantile of its own degrees of freedom, S - 1 and C - 1. With independent normal parts the
        interval covers at least 1 - p. Banerjee 1960, Approximate confidence interval for linear functions of means.
        """
        from scipy.special import stdtrit

        parts = ((self.each_seed / self.seeds, self.seeds - 1), (self.test_set, self.clusters - 1))
        return float(np.sqrt(sum(stdtrit(freedom, p / 2) ** 2 * part for part, freedom in parts if part)))

    def p_value(self, distance: float) -> float:
        """Two-sided p of an estimate at a distance from the tested value: the level whose half-width is that distance."""
        from scipy.special import ndtr

        low, high = 0.0, 37.0  # normal quantiles, which cover p-values from 1 to 1e-299 evenly
        if distance <= 0:
            return 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half_width(2 * ndtr(-middle)) < distance else (low, middle)
        return float(2 * ndtr(-low))


def variance(difference_S: Floats, sample_BS: Floats, *, clusters: int) -> Variance:
    """Components from the differences on the whole test set and on bootstrap samples of its clusters.

    >>> variance(np.array([0.0, 0.5]), np.zeros((100, 2)), clusters=50)
    Variance(each_seed=0.125, test_set=0.0, seeds=2, clusters=50)
    """
    seeds = len(difference_S)
    each_seed = float(difference_S.var(ddof=1)) if seeds > 1 else 0.0
    if clusters < 2:
        return Variance(each_seed, 0.0, seeds, clusters)
    covariance_SS = np.atleast_2d(np.cov(sample_BS, rowvar=False)) * clusters / (clusters - 1)
    others_SS = covariance_SS[~np.eye(seeds, dtype=bool)] if seeds > 1 else covariance_SS
    return Variance(each_seed, max(float(others_SS.mean()), 0.0), seeds, clusters)


def bootstrap_differences(shared: Sequence[Evidence], single: Sequence[Evidence], *, replicates: int, seed: int) -> Floats:
    """The difference of each seed, `(B, S)`, on bootstrap samples of the clusters."""
    pairs = list(zip(shared, single, strict=True))
    return np.concatenate([
        np.stack([a.scores(times_BC) - b.scores(times_BC) for a, b in pairs], 1)
        for times_BC in cluster_weights(shared[0].clusters, replicates, seed)
    ])  # fmt: skip
