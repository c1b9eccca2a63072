"""How far the difference of two models would move with other seeds and another test set.

Letters of shapes: B draws of clusters, C clusters, S paired seeds.

A seed's difference is theta + a_s + u + e_s: `a_s` is what the seed does everywhere, `u` what this test set does in every
seed, `e_s` what the seed does on this test set. The mean of S seeds has the variance (A + E) / S + U. Clusters are drawn
with replacement, the same ones for both models and all seeds of a draw, and each corpus metric is computed again; then

- the variance between the seeds' differences on the whole test set estimates A + E;
- the covariance between different seeds' differences over the draws estimates U: what two seeds have in common there.

The level of seeds is thereby resampled in closed form: the variance of a mean under drawing seeds with replacement is known,
and known to be (S - 1) / S of what it should be, so it is not left to chance. Drawing seeds and clusters together, as is
usual, counts E three times (Owen 2007, The pigeonhole bootstrap) and A too little; `statistics.py` has the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from manyheads.metrics.evidence import Evidence

Floats = npt.NDArray[np.float64]

CELLS = 2**22
"""Weights of clusters held at once: 32 MB."""


@dataclass(frozen=True, slots=True)
class Variance:
    """Variance of the mean difference of `seeds` seeds on `clusters` clusters, by what it comes from."""

    each_seed: float
    """Of one seed's difference on a given test set (A + E); 0 where there is one seed, which cannot tell."""
    test_set: float
    """Of what all seeds share on a test set of this size (U); with one seed U + E."""
    seeds: int
    clusters: int

    @property
    def total(self) -> float:
        """(A + E) / S + U."""
        return self.each_seed / self.seeds + self.test_set

    def reach(self, p: float) -> float:
        """Half-width of the interval whose two-sided test has the level `p`: the root of the sum of t**2 * variance.

        Each part has the t quantile of its own degrees of freedom, S - 1 and C - 1. Banerjee 1960, Approximate confidence
        interval for linear functions of means: it never covers less than it says, were the parts independent and normal.
        """
        from scipy.special import stdtrit

        parts = ((self.each_seed / self.seeds, self.seeds - 1), (self.test_set, self.clusters - 1))
        return float(np.sqrt(sum(stdtrit(freedom, p / 2) ** 2 * part for part, freedom in parts if part)))

    def p_value(self, distance: float) -> float:
        """Two-sided p of an estimate so far from what is tested: the level whose interval just reaches there."""
        from scipy.special import ndtr

        low, high = 0.0, 37.0  # normal quantiles: evenly spread over p-values from 1 down to 1e-299
        if distance <= 0:
            return 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.reach(2 * ndtr(-middle)) < distance else (low, middle)
        return float(2 * ndtr(-low))


def variance(difference_S: Floats, drawn_BS: Floats, *, clusters: int) -> Variance:
    """Components from the differences on the whole test set and on draws of its clusters."""
    seeds = len(difference_S)
    each_seed = float(difference_S.var(ddof=1)) if seeds > 1 else 0.0
    if clusters < 2:
        return Variance(each_seed, 0.0, seeds, clusters)
    covariance_SS = np.atleast_2d(np.cov(drawn_BS, rowvar=False)) * clusters / (clusters - 1)
    others_SS = covariance_SS[~np.eye(seeds, dtype=bool)] if seeds > 1 else covariance_SS
    return Variance(each_seed, max(float(others_SS.mean()), 0.0), seeds, clusters)


def drawn_differences(shared: Sequence[Evidence], single: Sequence[Evidence], *, replicates: int, seed: int) -> Floats:
    """Differences of each seed's pair, `(B, S)`, on draws of the clusters with replacement."""
    parts = [
        np.stack([ours.scores(draws) - alone.scores(draws) for ours, alone in zip(shared, single, strict=True)], axis=1)
        for draws in _draws(shared[0].clusters, replicates, seed)
    ]
    return np.concatenate(parts)


def _draws(clusters: int, replicates: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is drawn, `(B, C)`, in parts that fit memory."""
    generator = np.random.default_rng(seed)
    step = max(1, CELLS // clusters)
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn_BC = generator.integers(clusters, size=(rows, clusters)) + clusters * np.arange(rows)[:, None]
        yield np.bincount(drawn_BC.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)
