"""Which of the candidates are picked: by score, by diversity, or by both.

Decided here:
- `mixed` takes the best candidates by score, `BREADTH` for each row to pick, and draws among them by k-means++ weighted by
  the score (after Zhdanov 2019, who clusters them): unsure rows that are unlike one another. See docs/annotation.md for what
  else was tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from manyheads.annotation.diversity import Points, cover, spread
from manyheads.annotation.pool import Candidate
from manyheads.annotation.scores import MEASURES
from manyheads.errors import UsageError

STRATEGIES = ("mixed", *MEASURES, "diversity", "gradient", "random")
"""Values of `--by`."""
BREADTH = 10
"""Candidates by score for each row to pick; Zhdanov's value."""
LARGEST = 10_000
"""Candidates whose vectors are compared by strategies that look at all of them."""
MIXED_BY = "margin"
"""The measure of `mixed` and `gradient`. Better than random choice in every round on both development sets."""

Vectors = Callable[[Sequence[Candidate]], np.ndarray]
"""Gives the vector of each candidate."""


def measure_of(strategy: str) -> str:
    """The measure that candidates are scored by: one of `MEASURES`, or `random`."""
    if strategy in MEASURES:
        return strategy
    return "random" if strategy in ("diversity", "random") else MIXED_BY


def pool_size(strategy: str, count: int) -> int:
    """How many candidates to keep of a stream."""
    if strategy == "mixed":
        return BREADTH * count
    return max(LARGEST, count) if strategy in ("diversity", "gradient") else count


def choose(strategy: str, candidates: Sequence[Candidate], count: int, seed: int, vectors: Vectors) -> list[Candidate]:
    """The rows to label next, in the order in which they were chosen. `candidates` are sorted by score, best first.

    Raises UsageError for `gradient` with other choices than one label per text.
    """
    if strategy in MEASURES or strategy == "random" or len(candidates) <= count:
        return list(candidates[:count])
    vector_ND = vectors(candidates)
    if strategy == "diversity":
        return [candidates[i] for i in cover(Points([vector_ND]), count)]
    if strategy == "gradient":
        residuals = [one.residual for one in candidates if one.residual is not None]
        if len(residuals) < len(candidates):
            raise UsageError(
                "gradient is for one task with one label per text; choose it with --task, or use --by mixed"
            )
        points, weight_N = Points([np.array(residuals), vector_ND]), np.ones(len(candidates))
    else:
        points, weight_N = Points([vector_ND]), np.array([candidate.score for candidate in candidates])
    return [candidates[i] for i in spread(points, weight_N, count, seed)]
