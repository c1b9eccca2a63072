"""The difference that sharing makes to one task with its interval and p-values, and Holm's correction over tasks.

A task has S paired seeds; for each, the shared and the single model were scored on the same test set. The estimate is the
mean difference. Its variance has two parts, seeds and test set (`bootstrap.py`), and each part is multiplied by the t
quantile of its own degrees of freedom (Banerjee 1960).

Alternatives were simulated with six seeds on the clusters of real test sets. Coverage of 95 % intervals, the lowest, the
mean and the highest of 32 scenarios (`benchmarks/sharing_simulation.py`; 1,000 to 6,000 comparisons each, 250 to 500 for
the alternatives, so that chance widens their extremes):

    this method                                                    94.7  95.8   97.0
    one t quantile for the same sum (Satterthwaite 1946)           90.4  94.9   98.0   over 5 % false in 10 of 24
    halfway between these two                                      90.8  95.5   98.0   as good, but ad hoc
    Satterthwaite, total variance of samples, not the covariance   94.8  97.8  100.0   counts the interaction twice
    percentiles of seeds and clusters sampled together             88.4  97.7  100.0   counts it three times, no t tails
    the same, deviations of seeds times sqrt(S / (S - 1))          90.4  98.0  100.0   fixes neither
    the same, studentised                                          94.6  97.7   99.6
    t over seeds, ignoring the test set                            79.2  90.4   97.2   what a table of seeds suggests

On random streams not used for this choice coverage is 94.1 to 96.9 %, with a mean of 95.8 in 28 scenarios; the lowest has 20
documents. For normal data, six seeds and any mixture of the parts this method covers 95.0 to 96.6 %, Satterthwaite's 94.2 to
95.8; at the 98.75 % that Holm requires for four tasks 98.7 to 99.5 against 98.2 to 99.0. Known limit: Spearman on 20 pairs
covers 99 %, since a sample of so few has many ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manyheads.compare.bootstrap import Variance, bootstrap_differences, variance
from manyheads.metrics.evidence import Evidence

EXACT_SEEDS = 16
"""Up to this many seeds all sign flips are enumerated, at most 65,536; with more, as many random ones are drawn."""

LARGEST = 1.0
"""Bound of differences: 100 points. Only correlations can differ by more, if one of them is negative."""

NO_SPREAD = 1e-9
"""A standard error below this is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Levels and sizes of a comparison. Raises ValueError for values out of range."""

    level: float = 0.95
    """Confidence level of intervals; tests have the level 1 - `level`."""
    margin: float = 0.01
    """Differences within it do not matter; a fraction: 0.01 is 1 point."""
    replicates: int = 2000
    """Bootstrap samples. Another two thousand move the half-width of an interval by 2 %."""
    seed: int = 0
    """Of the bootstrap."""
    least_seeds: int = 2
    """Fewer seeds give no verdict: one seed shows nothing of the variance of seeds."""
    power: float = 0.8
    """Probability that the number of seeds named as needed settles a task."""

    def __post_init__(self) -> None:
        for name in ("level", "margin", "power"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a fraction between 0 and 1")
        for name, least in (("replicates", 100), ("least_seeds", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more")

    @property
    def alpha(self) -> float:
        """The level of tests."""
        return 1 - self.level


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Shared minus single, as fractions; positive means sharing is better."""

    shared: tuple[float, ...]
    """The score with each seed, as in `single`."""
    single: tuple[float, ...]
    mean: float
    low: float
    high: float
    p: float
    """Two-sided; the null hypothesis is no difference."""
    p_equivalent: float
    """The null hypothesis is a difference beyond the margin: the larger p of two one-sided tests (Schuirmann 1987)."""
    p_worse: float
    """The null hypothesis is a difference below minus the margin: one one-sided test, of non-inferiority."""
    low_one_sided: float
    """Lower bound of the one-sided interval: at the level 95 %, the lower end of the two-sided 90 % interval."""
    p_sign_flip: float
    """Of no difference, from the signs of the seeds and for this test set only; at least 1/2**(S-1)."""
    variance: Variance
    units: int
    """Number of scored units in the test set: entities, labels, questions, pairs."""

    def to_json(self) -> dict[str, Any]:
        """Mean, interval, p-values, and the variances they are computed from."""
        names = ("mean", "low", "high", "p", "p_equivalent", "p_worse", "low_one_sided", "p_sign_flip")
        return {name: getattr(self, name) for name in names} | {
            "standard_error": float(np.sqrt(self.variance.total)),
            "variance_each_seed": self.variance.each_seed,
            "variance_test_set": self.variance.test_set,
        }


def compare_scores(shared: Sequence[Evidence], single: Sequence[Evidence], settings: Settings) -> Difference:
    """The difference over paired seeds: evidence i of both models is of seed i, all on the same test set.

    With one seed the interval covers the test set only, with one cluster the seeds only. It is clipped to possible
    differences. Raises ValueError if there are no pairs, or the test sets differ.

    >>> from manyheads.metrics.evidence import Tally
    >>> accuracy = [Tally(np.array([[right, 10.0]] * 40), "mean") for right in (8.0, 9.0, 8.5, 7.0, 8.5, 8.0)]
    >>> round(compare_scores(accuracy[:3], accuracy[3:], Settings(replicates=100)).mean, 3)
    0.067
    """
    _check(shared, single)
    shared_S, single_S = _metrics(shared), _metrics(single)
    difference_S = shared_S - single_S
    sample_BS = bootstrap_differences(shared, single, replicates=settings.replicates, seed=settings.seed)
    parts = variance(difference_S, sample_BS, clusters=shared[0].clusters)
    mean, units = float(difference_S.mean()), shared[0].units
    found = _inference(mean, parts, units, settings)
    most = LARGEST if abs(mean) <= LARGEST else 2 * LARGEST
    return Difference(
        shared=tuple(shared_S.tolist()), single=tuple(single_S.tolist()), mean=mean, low=max(found.low, -most),
        high=min(found.high, most), p=found.p, p_equivalent=max(found.p_worse, found.p_better), p_worse=found.p_worse,
        low_one_sided=max(found.low_one_sided, -most), p_sign_flip=sign_flip(difference_S, seed=settings.seed),
        variance=parts, units=units,
    )  # fmt: skip


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for their number, in the given order; controls the family-wise error rate.

    Holm 1979, A simple sequentially rejective multiple test procedure. Raises ValueError for values outside 0 to 1.

    >>> holm([0.01, 0.03, 0.5])
    (0.03, 0.06, 0.5)
    """
    p_K = np.asarray(p_values, np.float64)
    if not ((p_K >= 0) & (p_K <= 1)).all():
        raise ValueError(f"p-values are {list(p_values)}; each must be between 0 and 1")
    order_K = np.argsort(p_K, kind="stable")
    adjusted_K = np.empty_like(p_K)
    adjusted_K[order_K] = np.minimum(np.maximum.accumulate(p_K[order_K] * np.arange(len(p_K), 0, -1)), 1.0)
    return tuple(adjusted_K.tolist())


def sign_flip(difference_S: npt.NDArray[np.float64], *, seed: int = 0) -> float:
    """Two-sided p of the mean if each seed's sign were random (Fisher 1935); exact up to 16 seeds.

    The smallest p of S seeds is 2**(1 - S).

    >>> sign_flip(np.full(6, 0.01)), sign_flip(np.full(5, 0.01))
    (0.03125, 0.0625)
    """
    count = len(difference_S)
    if count <= EXACT_SEEDS:
        flipped_FS = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    else:
        flipped_FS = np.random.default_rng(seed).integers(2, size=(2**EXACT_SEEDS, count))
        flipped_FS[0] = 0
    sums_F = np.abs((1 - 2 * flipped_FS) @ difference_S)
    rounding = 1e-9 * np.abs(difference_S).sum()  # equal sums differ in their last digits
    return float((sums_F >= sums_F[0] - rounding).mean())


@dataclass(frozen=True, slots=True)
class _Inference:
    """An interval and p-values, whose null hypotheses are: no difference, one below minus the margin, one above it."""

    low: float
    high: float
    low_one_sided: float
    p: float
    p_worse: float
    p_better: float


def _inference(mean: float, parts: Variance, units: int, settings: Settings) -> _Inference:
    if parts.seeds < 2 and parts.clusters < 2:
        return _Inference(-1.0, 1.0, -1.0, 1.0, 1.0, 1.0)
    if parts.total < NO_SPREAD**2:
        return _without_spread(mean, parts, units, settings)
    reach, one_sided = parts.half_width(settings.alpha), parts.half_width(2 * settings.alpha)
    beyond = [_one_sided(parts, settings.margin + side * mean) for side in (1, -1)]
    return _Inference(mean - reach, mean + reach, mean - one_sided, parts.p_value(abs(mean)), *beyond)


def _one_sided(parts: Variance, spare: float) -> float:
    """p of a value at the distance `spare` from the estimate; above 0.5 if the estimate is beyond it."""
    p = parts.p_value(abs(spare)) / 2
    return p if spare > 0 else 1 - p


def _without_spread(mean: float, parts: Variance, units: int, settings: Settings) -> _Inference:
    """Inference if all seeds and samples have the same difference, so that no variance can be estimated.

    If a share q of units differed, all `units` would agree with probability (1 - q)**units (the rule of three). A constant
    difference has the p-value of as many equal signs.
    """
    reach = 1 - settings.alpha ** (1 / max(units, 1))
    p = min(1.0, 2.0 ** (1 - min(parts.seeds, parts.clusters))) if abs(mean) > NO_SPREAD else 1.0
    beyond = [(1 - min(max(settings.margin + side * mean, 0.0), 1.0)) ** max(units, 1) for side in (1, -1)]
    return _Inference(mean - reach, mean + reach, mean - reach, p, *beyond)


def _metrics(models: Sequence[Evidence]) -> npt.NDArray[np.float64]:
    once_1C = np.ones((1, models[0].clusters))
    return np.concatenate([model.scores(once_1C) for model in models])


def _check(shared: Sequence[Evidence], single: Sequence[Evidence]) -> None:
    if not shared or len(shared) != len(single):
        raise ValueError(f"{len(shared)} shared models but {len(single)} single ones; give one of each for every seed")
    sizes = sorted({(evidence.clusters, evidence.units) for evidence in (*shared, *single)})
    if len(sizes) > 1:
        seen = " and ".join(f"{clusters} clusters with {units} units" for clusters, units in sizes)
        raise ValueError(f"the models were scored on different test sets: {seen}; score all on the same one")
