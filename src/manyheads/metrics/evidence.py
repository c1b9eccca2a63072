"""Evidence: the sufficient statistics of a corpus metric by cluster, for a bootstrap over clusters.

A bootstrap draws clusters (documents, articles) with replacement, and the metric of such a test set is not a mean of the
clusters' metrics: F1 of a corpus is a ratio of sums, Spearman's correlation needs all ranks. So each cluster keeps its
counts, and `scores` computes the metric with each cluster counted any number of times, for all draws at once.

Letters of shapes: B draws, C clusters, M columns of counts, N or E examples, U distinct values.

Decided here:
- Conventions are those of the other modules: a division by zero gives 0, the macro mean is over the labels that occur (in
  that draw), a correlation with a constant is 0.
- An example without a cluster ("" from `Task.cluster`) is a separate cluster.
- Task types can add metrics: a `Formula` in `FORMULAS` turns sums over examples into a metric.
- Evidence can be stored as arrays and JSON without loss, so a finished run need not be evaluated again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

CELLS = 2**18
"""Weights of examples that `Ranks` holds at once: 2 MB, four times faster than 32 MB, which exceed the cache."""


class Evidence(Protocol):
    """Sufficient statistics of one model's metric on one test set."""

    @property
    def clusters(self) -> int:
        """Number of clusters."""

    @property
    def units(self) -> int:
        """Number of scored units: gold entities, labels, questions, pairs."""

    def scores(self, weights_BC: Array) -> Floats:
        """The metric, `(B,)`, with cluster c counted weights_BC[b, c] times. Raises ValueError for another width."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A metric as a function of sums over examples, so that draws of clusters cost one matrix product."""

    metric: Callable[[Floats], Floats]
    """Sums `(B, M)` to the metric of each draw, `(B,)`."""
    columns: int
    """Number of sums; the last counts the scored units, unless `counted` is set."""
    repeats: bool = False
    """Whether there may be several groups of columns, one per label or target."""
    signed: bool = False
    """Whether sums can be negative."""
    counted: int = -1
    """The column that counts the scored units."""


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Sums over the examples of each cluster that a formula turns into the metric.

    - `f1`: columns correct, predicted, gold; the metric is 2 * correct / (predicted + gold)
    - `mean`: columns sum, number; their quotient: accuracy, exact match, F1 of answers, reciprocal rank, recall at 1
    - `macro_f1`: the columns of `f1` for each label in turn; the mean F1 of the labels that occur
    - `pearson`: for each target columns number, x, y, xx, yy, xy; the mean correlation

    Others can be added to `FORMULAS`. Raises ValueError if the columns do not fit the formula, or a sum is not finite, or
    negative against the formula.

    >>> tally = Tally(np.array([[1.0, 1.0, 2.0], [0.0, 1.0, 1.0]]), "f1")
    >>> tally.scores(np.array([[1, 1], [2, 0]])).round(3)  # both clusters once, the first twice
    array([0.4  , 0.667])
    """

    counts_CM: Floats
    formula: str

    def __post_init__(self) -> None:
        counts_CM = np.array(self.counts_CM, np.float64)
        formula = FORMULAS.get(self.formula)
        if formula is None:
            raise ValueError(f"there is no formula {self.formula!r}; use one of {', '.join(FORMULAS)}")
        group = formula.columns
        if counts_CM.ndim != 2 or not len(counts_CM) or not counts_CM.shape[1] or counts_CM.shape[1] % group:
            raise ValueError(f"counts for {self.formula!r} have the shape {counts_CM.shape}; give (clusters, {group})")
        if not formula.repeats and counts_CM.shape[1] != group:
            raise ValueError(f"counts for {self.formula!r} have {counts_CM.shape[1]} columns; give {group}")
        if not np.isfinite(counts_CM).all() or (not formula.signed and (counts_CM < 0).any()):
            raise ValueError("a count is negative or not finite; counts are sums over the examples of a cluster")
        object.__setattr__(self, "counts_CM", counts_CM)

    @property
    def clusters(self) -> int:
        """Number of rows of the counts."""
        return len(self.counts_CM)

    @property
    def units(self) -> int:
        """Number of gold entities or labels; of examples, for a mean."""
        formula = FORMULAS[self.formula]
        return round(float(self.counts_CM[:, formula.counted % formula.columns :: formula.columns].sum()))

    def scores(self, weights_BC: Array) -> Floats:
        """The metric of each draw, by one matrix product."""
        return FORMULAS[self.formula].metric(_weights(weights_BC, self.clusters) @ self.counts_CM)


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Spearman's correlation of predicted and gold values; example i belongs to cluster `cluster_N[i]`.

    A cluster counted k times stands for k copies of its examples; ties have their mean rank. Raises ValueError for
    different lengths, a value that is not finite, and clusters that are not numbered from 0 without a gap.

    >>> Ranks(np.array([0, 1, 2]), np.array([0.1, 0.5, 0.9]), np.array([1.0, 3.0, 2.0])).scores(np.ones((1, 3)))
    array([0.5])
    """

    cluster_N: npt.NDArray[np.int64]
    predicted_N: Floats
    gold_N: Floats
    _orders: tuple[_Order, _Order] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cluster_N = np.array(self.cluster_N, np.int64)
        values = [np.array(values_N, np.float64) for values_N in (self.predicted_N, self.gold_N)]
        if cluster_N.ndim != 1 or not len(cluster_N) or any(values_N.shape != cluster_N.shape for values_N in values):
            shapes = f"{cluster_N.shape}, {values[0].shape} and {values[1].shape}"
            raise ValueError(f"clusters, predicted and gold values have the shapes {shapes}; give three of one length")
        if not all(np.isfinite(values_N).all() for values_N in values):
            raise ValueError("a value is not finite; a correlation needs numbers")
        if cluster_N.min() < 0 or not np.bincount(cluster_N).all():
            raise ValueError("clusters must be numbered from 0 without a gap; see cluster_numbers")
        object.__setattr__(self, "cluster_N", cluster_N)
        object.__setattr__(self, "predicted_N", values[0])
        object.__setattr__(self, "gold_N", values[1])
        object.__setattr__(self, "_orders", (_order(values[0]), _order(values[1])))

    @property
    def clusters(self) -> int:
        """The highest cluster number plus one."""
        return int(self.cluster_N.max()) + 1

    @property
    def units(self) -> int:
        """Number of pairs."""
        return len(self.cluster_N)

    def scores(self, weights_BC: Array) -> Floats:
        """The correlation of each draw, -1 to 1."""
        weights = _weights(weights_BC, self.clusters)
        return np.concatenate([self._correlation(part_CB) for part_CB in _parts(weights, len(self.cluster_N))])

    def _correlation(self, weights_CB: Floats) -> Floats:
        # Examples are rows here, as reordering rows is several times faster than reordering columns.
        weights_NB = weights_CB[self.cluster_N]
        (x_NB, x_B), (y_NB, y_B) = (_centred_ranks(weights_NB, order) for order in self._orders)
        covariance_B = np.einsum("nb,nb,nb->b", weights_NB, x_NB, y_NB)
        return np.clip(_ratio(covariance_B, np.sqrt(x_B * y_B)), -1, 1)


def cluster_numbers(keys: Sequence[str]) -> npt.NDArray[np.int64]:
    """Cluster numbers from 0, `(E,)`, in order of appearance; an empty key is a separate cluster.

    >>> cluster_numbers(["a", "", "a", ""])
    array([0, 1, 0, 2])
    """
    numbers: dict[str, int] = {}
    total = 0
    result_E = np.empty(len(keys), np.int64)
    for example, key in enumerate(keys):
        number = numbers.get(key, total) if key else total
        if number == total:
            total += 1
            if key:
                numbers[key] = number
        result_E[example] = number
    return result_E


def grouped(counts_EM: npt.ArrayLike, keys: Sequence[str]) -> Floats:
    """Counts of clusters, `(C, M)`: rows of equal keys summed, numbered as by `cluster_numbers`.

    Raises ValueError unless there is one key per row.

    >>> grouped([[1, 2], [0, 1], [1, 1]], ["a", "b", "a"])
    array([[2., 3.],
           [0., 1.]])
    """
    rows_EM = np.asarray(counts_EM, np.float64)
    if rows_EM.ndim != 2 or len(rows_EM) != len(keys):
        raise ValueError(f"counts have the shape {rows_EM.shape} but there are {len(keys)} keys; give one for each row")
    numbers_E = cluster_numbers(keys)
    counts_CM = np.zeros((int(numbers_E.max()) + 1 if len(keys) else 0, rows_EM.shape[1]))
    np.add.at(counts_CM, numbers_E, rows_EM)
    return counts_CM


def to_arrays(evidence: Tally | Ranks) -> tuple[dict[str, str], dict[str, Array]]:
    """Evidence as (facts for JSON, arrays); the inverse of `from_arrays`.

    >>> to_arrays(Tally(np.array([[1.0, 2.0]]), "mean"))
    ({'kind': 'tally', 'formula': 'mean'}, {'counts': array([[1., 2.]])})
    """
    if isinstance(evidence, Tally):
        return {"kind": "tally", "formula": evidence.formula}, {"counts": evidence.counts_CM}
    arrays = {"cluster": evidence.cluster_N, "predicted": evidence.predicted_N, "gold": evidence.gold_N}
    return {"kind": "ranks"}, arrays


def from_arrays(facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> Tally | Ranks:
    """Evidence from the result of `to_arrays`. Raises ValueError for other facts or arrays.

    >>> from_arrays({"kind": "tally", "formula": "mean"}, {"counts": np.array([[1.0, 2.0]])}).units
    2
    """
    try:
        if facts["kind"] == "tally":
            return Tally(arrays["counts"], facts["formula"])
        if facts["kind"] == "ranks":
            return Ranks(arrays["cluster"], arrays["predicted"], arrays["gold"])
    except KeyError as error:
        raise ValueError(f"stored evidence lacks {error}; store it again with to_arrays") from error
    raise ValueError(f"stored evidence is of the kind {facts['kind']!r}; known are 'tally' and 'ranks'")


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """Examples sorted by a value, and the start of each distinct value among them."""

    by_value_N: npt.NDArray[np.int64]
    start_U: npt.NDArray[np.int64]
    group_N: npt.NDArray[np.int64]
    """Index of the distinct value of each example."""


def _mean(sums_BM: Floats) -> Floats:
    return _ratio(sums_BM[:, 0], sums_BM[:, 1])


def _macro_f1(sums_BM: Floats) -> Floats:
    f1_BK = _ratio(2 * sums_BM[:, 0::3], sums_BM[:, 1::3] + sums_BM[:, 2::3])
    occurs_BK = sums_BM[:, 1::3] + sums_BM[:, 2::3] > 0
    return _ratio(f1_BK.sum(1), occurs_BK.sum(1).astype(np.float64))


def _pearson(sums_BM: Floats) -> Floats:
    n_BK, x_BK, y_BK, xx_BK, yy_BK, xy_BK = (sums_BM[:, k::6] for k in range(6))
    below_BK = np.sqrt(np.maximum(n_BK * xx_BK - x_BK**2, 0) * np.maximum(n_BK * yy_BK - y_BK**2, 0))
    return np.asarray(np.clip(_ratio(n_BK * xy_BK - x_BK * y_BK, below_BK), -1, 1).mean(1))


FORMULAS: dict[str, Formula] = {
    "f1": Formula(_macro_f1, 3),
    "mean": Formula(_mean, 2),
    "macro_f1": Formula(_macro_f1, 3, repeats=True),
    "pearson": Formula(_pearson, 6, repeats=True, signed=True, counted=0),
}
"""Formulas by name. A task type of another package may add its own on import."""


def _order(values_N: Floats) -> _Order:
    by_value_N = np.argsort(values_N, kind="stable")
    ranked_N = values_N[by_value_N]
    first_N = np.append(True, ranked_N[1:] != ranked_N[:-1])
    group_N = np.empty(len(values_N), np.int64)
    group_N[by_value_N] = np.cumsum(first_N) - 1
    return _Order(by_value_N, np.flatnonzero(first_N), group_N)


def _centred_ranks(weights_NB: Floats, order: _Order) -> tuple[Floats, Floats]:
    """Ranks of the repeated examples minus their mean, `(N, B)`, and the sum of their squares, `(B,)`."""
    copies_UB = weights_NB[order.by_value_N]
    if len(order.start_U) < len(copies_UB):
        copies_UB = np.add.reduceat(copies_UB, order.start_U, axis=0)
    ranks_UB = np.cumsum(copies_UB, axis=0) - (copies_UB + copies_UB.sum(0)) / 2
    return ranks_UB[order.group_N], np.einsum("ub,ub,ub->b", copies_UB, ranks_UB, ranks_UB)


def _weights(weights_BC: Array, clusters: int) -> Floats:
    weights = np.asarray(weights_BC, np.float64)
    if weights.ndim != 2 or weights.shape[1] != clusters:
        raise ValueError(
            f"weights have the shape {weights.shape} but there are {clusters} clusters; give (draws, {clusters})"
        )
    return weights


def _parts(weights_BC: Floats, examples: int) -> Iterator[Floats]:
    """Draws as columns, as many at a time as `CELLS` allows; at least one part, even without draws."""
    step = max(1, CELLS // examples)
    for start in range(0, max(len(weights_BC), 1), step):
        yield np.ascontiguousarray(weights_BC[start : start + step].T)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
