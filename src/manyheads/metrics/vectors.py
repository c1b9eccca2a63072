"""Metrics of vectors: correlation of similarities with human scores, and ranks of positives among all candidates.

Decided here:
- The correlation with a constant, or of fewer than two pairs, is 0.0, without NaN or a warning.
- Ties count against the query: a wrong candidate as near as the right one is ranked before it, so an encoder that gives
  every text the same vector scores near 0 and not 1. Similarities of equal vectors can differ by some 1e-16, since products
  are rounded differently by position and processor; differences below 1e-12 are ties.
- Sums are float64, and similarities are computed for a few million pairs at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[Any] | Sequence[Any]
"""An array, or a list that can be converted to one."""

Identities = npt.NDArray[Any] | Sequence[Any]

CELLS = 2**22
"""Similarities in memory at once: 32 MB."""
TIE = 1e-12
"""Similarities at most this far apart are equal; one step of float32, the type of vectors, is 6e-8."""
NEARLY_CONSTANT = 1e-13
"""Ratio of spread to mean below which a variable is constant, as where scipy starts to warn."""


def cosine(a_BD: Vectors, b_BD: Vectors) -> Floats:
    """Cosine of each pair of rows, `(B,)`; 0.0 for a zero row. Raises ValueError for different shapes.

    >>> cosine([[1.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]])
    array([1., 0.])
    """
    a, b = _unit(a_BD), _unit(b_BD)
    if a.shape != b.shape:
        raise ValueError(f"vectors have the shapes {a.shape} and {b.shape}; give pairs of the same width")
    return np.clip(np.einsum("bd,bd->b", a, b), -1, 1)


def pearson(x: Vectors, y: Vectors) -> float:
    """Pearson's correlation, -1 to 1; 0.0 if either is constant or there are fewer than two values.

    Raises ValueError for different lengths, or a value that is not finite.

    >>> round(pearson([1, 2, 3], [1, 2, 4]), 4)
    0.982
    """
    return _correlation(*_columns(x, y))


def spearman(x: Vectors, y: Vectors) -> float:
    """Spearman's rank correlation, with ties at their mean rank; otherwise as `pearson`.

    >>> round(spearman([1, 2, 3], [10, 20, 900]), 4)
    1.0
    """
    from scipy.stats import rankdata

    x_B, y_B = _columns(x, y)
    return _correlation(rankdata(x_B), rankdata(y_B))


def recall_at_k(
    queries_QD: Vectors, candidates_CD: Vectors, *, k: int = 1, identities: Identities | None = None
) -> float:
    """Share of queries with a right candidate among the `k` nearest by cosine; see `ranks`.

    >>> recall_at_k([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, -1.0]])
    0.5
    """
    rank_Q = ranks(queries_QD, candidates_CD, identities=identities)
    return float((rank_Q <= k).mean()) if len(rank_Q) else 0.0


def mrr(queries_QD: Vectors, candidates_CD: Vectors, *, identities: Identities | None = None) -> float:
    """Mean reciprocal rank of the first right candidate; see `ranks`.

    >>> mrr([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, -1.0]])
    0.75
    """
    rank_Q = ranks(queries_QD, candidates_CD, identities=identities)
    return float((1 / rank_Q).mean()) if len(rank_Q) else 0.0


def ranks(
    queries_QD: Vectors, candidates_CD: Vectors, *, identities: Identities | None = None
) -> npt.NDArray[np.int64]:
    """Rank from 1 of the nearest right candidate of each query, by cosine over all candidates.

    Candidate i is right for query i; candidates beyond the queries are distractors. `identities` has one value per
    candidate, equal for equal texts: a repetition of the right text is right too. Raises ValueError for shapes that do
    not fit, and values that are not finite.

    >>> ranks([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.1], [0.1, 1.0]])
    array([1, 1])
    """
    queries, candidates = _unit(queries_QD), _unit(candidates_CD)
    if len(queries) and (queries.shape[1] != candidates.shape[-1] or len(candidates) < len(queries)):
        raise ValueError(
            f"{queries.shape} queries do not fit {candidates.shape} candidates; candidate i belongs to query i"
        )
    identity_C = np.arange(len(candidates)) if identities is None else np.asarray(identities)
    if len(identity_C) != len(candidates):
        raise ValueError(f"{len(candidates)} candidates but {len(identity_C)} identities; give one for each")
    result = np.ones(len(queries), np.int64)
    step = max(1, CELLS // max(len(candidates), 1))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        similarity_QC = queries[part] @ candidates.T
        right_QC = identity_C[: len(queries)][part, None] == identity_C[None, :]
        best_Q1 = np.where(right_QC, similarity_QC, -np.inf).max(1, keepdims=True)
        result[part] += ((similarity_QC >= best_Q1 - TIE) & ~right_QC).sum(1)
    return result


def _columns(x: Vectors, y: Vectors) -> tuple[Floats, Floats]:
    x_B, y_B = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x_B.ndim != 1 or x_B.shape != y_B.shape:
        raise ValueError(f"values have the shapes {x_B.shape} and {y_B.shape}; give two columns of one length")
    if not (np.isfinite(x_B).all() and np.isfinite(y_B).all()):
        raise ValueError("a value is not finite; a correlation needs numbers")
    return x_B, y_B


def _correlation(x_B: Floats, y_B: Floats) -> float:
    if len(x_B) < 2 or _constant(x_B) or _constant(y_B):
        return 0.0
    from scipy.stats import pearsonr

    return float(pearsonr(x_B, y_B).statistic)


def _constant(x_B: Floats) -> bool:
    spread = float(np.linalg.norm(x_B - x_B.mean()))
    return spread <= NEARLY_CONSTANT * abs(float(x_B.mean())) or bool((x_B == x_B[0]).all())


def _unit(vectors: Vectors) -> Floats:
    """Rows scaled to length 1; zero rows are unchanged."""
    array = np.asarray(vectors, np.float64)
    if array.ndim != 2 and array.size:
        raise ValueError(f"vectors have the shape {array.shape}; give rows")
    if not np.isfinite(array).all():
        raise ValueError("a vector holds a value that is not finite")
    if not array.size:
        return array.reshape(len(array), array.shape[1] if array.ndim == 2 else 0)
    length_B1 = np.linalg.norm(array, axis=1, keepdims=True)
    return array / np.where(length_B1 > 0, length_B1, 1.0)
