"""Metrics of numbers, and the sums their correlation is computed from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from manyheads.metrics.evidence import Tally, grouped
from manyheads.metrics.vectors import pearson, spearman

Floats = npt.NDArray[np.float64]


def number_scores(found_BK: Floats, gold_BK: Floats) -> dict[str, float]:
    """Means over K numbers of `pearson`, `spearman`, `r2` (0 if gold is constant), and `mse`, of which less is better.

    >>> number_scores(np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [2.0], [3.0]]))["r2"]
    0.5
    """
    error_K, spread_K = ((found_BK - gold_BK) ** 2).mean(0), gold_BK.var(0)
    r2_K = 1 - np.divide(error_K, spread_K, out=np.ones_like(error_K), where=spread_K > 0)
    pairs = list(zip(found_BK.T, gold_BK.T, strict=True))
    return {
        "pearson": float(np.mean([pearson(x_B.tolist(), y_B.tolist()) for x_B, y_B in pairs])),
        "spearman": float(np.mean([spearman(x_B.tolist(), y_B.tolist()) for x_B, y_B in pairs])),
        "r2": float(r2_K.mean()),
        "mse": float(error_K.mean()),
    }


def correlation_tally(x_BK: Floats, y_BK: Floats, clusters: Sequence[str]) -> Tally:
    """Evidence for the mean of K correlations, from `(B, K)` values and the cluster of each row.

    >>> tally = correlation_tally(np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]]), ["", ""])
    >>> tally.scores(np.ones((1, 2)))
    array([1.])
    """
    middle_K, scale_K = y_BK.mean(0), np.maximum(y_BK.std(0), 1e-12)  # squares of values far from 0 lose digits
    x, y = (x_BK - middle_K) / scale_K, (y_BK - middle_K) / scale_K
    sums_BK6 = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)
    return Tally(grouped(sums_BK6.reshape(len(x), -1), clusters), "pearson")
