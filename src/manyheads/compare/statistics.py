"""The difference that sharing makes to one task, how sure it is, and Holm's correction over tasks.

One task has S paired seeds; in each, the shared and the single model were scored on the same test set. The estimate is the
mean difference; its variance has two parts, seeds and test set (`bootstrap.py`), and each part reaches as far as Student's t
with its own degrees of freedom says (Banerjee 1960).

Tried, and measured by simulation with six seeds on the clusters of real test sets: coverage of 95 % intervals, the lowest,
the mean and the highest of 32 scenarios (`benchmarks/sharing_simulation.py`; 1,000 to 6,000 comparisons each, 250 to 500 for
those not taken, whose extremes are the wider by chance).

    this one                                                       94.7  95.8   97.0
    one t quantile for the same sum (Satterthwaite 1946)           90.4  94.9   98.0   in 10 of 24 more than 5 % false
    halfway between these two                                      90.8  95.5   98.0   as good, but made up
    Satterthwaite, the whole variance of draws, not the covariance 94.8  97.8  100.0   counts twice what seeds do to a set
    percentiles of seeds and clusters drawn together               88.4  97.7  100.0   counts it thrice, and no t tails
    the same, deviations of seeds times sqrt(S / (S - 1))          90.4  98.0  100.0   mends neither
    the same, studentised                                          94.6  97.7   99.6
    t over seeds, this test set taken for all                      79.2  90.4   97.2   what a table of seeds suggests

On draws that the choice had not seen it covers 94.1 to 96.9 %, 95.8 in the mean of 28 scenarios; the lowest is 20 documents.
For normal data, six seeds and any mixture of the parts this one covers 95.0 to 96.6 %, Satterthwaite's 94.2 to 95.8; at the
98.75 % that Holm asks of four tasks 98.7 to 99.5 against 98.2 to 99.0. Left over: Spearman on 20 pairs covers 99 %, since a
draw of so few repeats many and ranks them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manyheads.compare.bootstrap import Variance, drawn_differences, variance
from manyheads.metrics.evidence import Evidence

EXACT_SEEDS = 16
"""Up to here all sign flips are tried, 65,536 of them; beyond it as many at random."""

LARGEST = 1.0
"""Of differences: 100 points. Only correlations can differ by more, where one model ranks pairs the wrong way round."""

NO_SPREAD = 1e-9
"""A standard error below it is rounding: a billion units could not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a comparison asks for. Raises ValueError for a value that makes no sense."""

    level: float = 0.95
    """Of intervals; one minus it is the level of every test."""
    margin: float = 0.01
    """Differences within it, as a fraction, do not matter: 1 point."""
    replicates: int = 2000
    """Draws of the clusters. Another two thousand move the half-width of an interval by 2 %."""
    seed: int = 0
    """Of the draws."""
    least_seeds: int = 2
    """Fewer give no verdict: one seed cannot tell what another would have given."""
    power: float = 0.8
    """Chance to settle a task with the seeds that are named as needed."""

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
    """Shared minus single; fractions, positive where sharing is better."""

    shared: tuple[float, ...]
    """Of each seed."""
    single: tuple[float, ...]
    mean: float
    low: float
    high: float
    p: float
    """Two-sided, of no difference."""
    p_equivalent: float
    """Of a difference beyond the margin: the larger p of two one-sided tests (Schuirmann 1987)."""
    p_worse: float
    """Of a difference below minus the margin: one one-sided test, of non-inferiority."""
    low_one_sided: float
    """Where the one-sided interval of the same level begins: the lower end of the two-sided 90 % interval for 95 %."""
    p_sign_flip: float
    """Of no difference, from the signs of the seeds alone and for this test set alone; 1/2**(S-1) at best."""
    variance: Variance
    units: int
    """Scored things in the test set: entities, labels, questions, pairs."""

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(np.sqrt(self.variance.total))

    def to_json(self) -> dict[str, Any]:
        """Mean, interval, p-values, and what they come from."""
        names = ("mean", "low", "high", "p", "p_equivalent", "p_worse", "low_one_sided", "p_sign_flip")
        return {name: getattr(self, name) for name in names} | {
            "standard_error": self.error,
            "variance_each_seed": self.variance.each_seed,
            "variance_test_set": self.variance.test_set,
        }


def compare_scores(shared: Sequence[Evidence], single: Sequence[Evidence], settings: Settings) -> Difference:
    """The difference over paired seeds: evidence i of both is of seed i, all of it on the same test set.

    With one seed the interval speaks of the test set only, with one cluster of the seeds only. An interval ends where
    differences end. Raises ValueError when there are no pairs, or the test sets differ.
    """
    _check(shared, single)
    shared_S, single_S = _metrics(shared), _metrics(single)
    difference_S = shared_S - single_S
    drawn_BS = drawn_differences(shared, single, replicates=settings.replicates, seed=settings.seed)
    parts = variance(difference_S, drawn_BS, clusters=shared[0].clusters)
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
    """p-values adjusted for their number, in the given order: none below alpha by chance but with probability alpha.

    Holm 1979, A simple sequentially rejective multiple test procedure. Raises ValueError for what is no probability.
    """
    p_K = np.asarray(p_values, np.float64)
    if not ((p_K >= 0) & (p_K <= 1)).all():
        raise ValueError(f"p-values are {list(p_values)}; each must be between 0 and 1")
    order_K = np.argsort(p_K, kind="stable")
    adjusted_K = np.empty_like(p_K)
    adjusted_K[order_K] = np.minimum(np.maximum.accumulate(p_K[order_K] * np.arange(len(p_K), 0, -1)), 1.0)
    return tuple(adjusted_K.tolist())


def sign_flip(difference_S: npt.NDArray[np.float64], *, seed: int = 0) -> float:
    """Two-sided p of the mean when each seed's sign could as well have been the other; exact up to 16 seeds.

    Fisher 1935. The smallest p of S seeds is 2**(1 - S): 0.031 of 6, 0.062 of 5.
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
    """An interval and p-values: of no difference, of one below minus the margin, of one above it."""

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
    reach, one_sided = parts.reach(settings.alpha), parts.reach(2 * settings.alpha)
    beyond = [_one_sided(parts, settings.margin + side * mean) for side in (1, -1)]
    return _Inference(mean - reach, mean + reach, mean - one_sided, parts.p_value(abs(mean)), *beyond)


def _one_sided(parts: Variance, spare: float) -> float:
    """p of what would be `spare` away from the estimate; above a half where the estimate is beyond it."""
    p = parts.p_value(abs(spare)) / 2
    return p if spare > 0 else 1 - p


def _without_spread(mean: float, parts: Variance, units: int, settings: Settings) -> _Inference:
    """When seeds and draws all gave the same difference, which no variance can be estimated from.

    Were a share q of units to differ, `units` of them would all agree with probability (1 - q)**units: the rule of three.
    A difference that is the same everywhere has the p-value of as many equal signs.
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
