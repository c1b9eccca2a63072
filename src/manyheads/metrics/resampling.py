"""Bootstrap samples of clusters, and the interval of one model's metric.

Shape letters: B bootstrap samples, C clusters.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from manyheads.metrics.evidence import Evidence, Ranks

Floats = npt.NDArray[np.float64]

CELLS = 2**22
"""Weights of clusters in memory at a time: 32 MB."""
LEVEL = 0.95
SAMPLES = 1000
MOST_DRAWN = 2 * 10**7
"""Clusters drawn for one interval: half a second. Larger data, past 20,000 clusters, have fewer samples, at least 200."""
LEAST_SAMPLES = 200
MIN_CLUSTERS = 10
"""With fewer clusters there is no interval."""


def cluster_weights(clusters: int, samples: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is in each bootstrap sample, `(B, C)`, in blocks of at most `CELLS` weights.

    >>> [block.sum(axis=1).tolist() for block in cluster_weights(5, 3, seed=0)]
    [[5.0, 5.0, 5.0]]
    """
    generator = np.random.default_rng(seed)
    step = max(1, CELLS // clusters)
    for start in range(0, samples, step):
        rows = min(step, samples - start)
        sample_BC = generator.integers(clusters, size=(rows, clusters)) + clusters * np.arange(rows)[:, None]
        yield np.bincount(sample_BC.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)


def score_interval(evidence: Evidence, score: float) -> tuple[float, float] | None:
    """95 % percentile interval of a score over clusters (Efron 1979); None with fewer than 10 clusters.

    If the evidence covers only part of the examples, the interval is shifted to the score of all of them. It is clipped to
    the range of possible scores.

    >>> from manyheads.metrics.evidence import Tally
    >>> right = Tally(np.array([[1.0, 1.0]] * 60 + [[0.0, 1.0]] * 40), "mean")
    >>> [round(bound, 2) for bound in score_interval(right, 0.6)]
    [0.51, 0.69]
    """
    if evidence.clusters < MIN_CLUSTERS:
        return None
    samples = min(SAMPLES, max(LEAST_SAMPLES, MOST_DRAWN // evidence.clusters))
    drawn = [evidence.scores(weights_BC) for weights_BC in cluster_weights(evidence.clusters, samples, seed=0)]
    whole = float(evidence.scores(np.ones((1, evidence.clusters)))[0])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(drawn), (tail, 1 - tail)).tolist()
    least = -1.0 if isinstance(evidence, Ranks) else 0.0
    return max(score + low - whole, least), min(score + high - whole, 1.0)
