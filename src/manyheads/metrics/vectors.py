"""Metrics of vectors: correlation of similarities with human scores, and ranks of positives among all candidates.

Decided here:
- The correlation with a constant, or of fewer than two pairs, is 0.0, without NaN or a warning.
- Ties count against the query: a wrong candidate as near as the right one is ranked before it, so an encoder that gives
  every text the same vector scores near 0 and not 1. Similarities of equal vectors can differ by some 1e-16, since products
  are rounded differently by position and processor; differences below 1e-12 are ties.
- Sums are float64, and similarities are computed for a few million pairs at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def unit_rows(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Vectors along the last axis scaled to length 1, in their own type; zeros stay.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def cosines(a_QD: Vectors, b_CD: Vectors) -> Floats:
    """Cosine of each row of one array with each of another, `(Q, C)`.

    >>> cosines([[1.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]])
    array([[1., 0.]])
    """
    return np.asarray(_unit(a_QD) @ _unit(b_CD).T)


def mean_max_similarity(queries: Sequence[Floats], candidates: Sequence[Floats]) -> Floats:
    """Late interaction of texts with a vector for each token, `(n, R)` of length 1 each: `(Q, C)`.

    The mean over the tokens of a query of the highest product with a token of the candidate (ColBERT's sum over the number of
    tokens). A text without tokens has similarity 0.

    >>> mean_max_similarity([np.eye(2)], [np.eye(2)[:1], np.eye(2)])
    array([[0.5, 1. ]])
    """
    score_QC = np.zeros((len(queries), len(candidates)))
    sizes = np.array([len(one) for one in candidates], np.int64)
    filled = np.flatnonzero(sizes)
    if not len(filled):
        return score_QC
    token_TR = np.concatenate([np.asarray(candidates[c], np.float32) for c in filled.tolist()])
    start_C = np.cumsum(sizes[filled]) - sizes[filled]
    for q, query in enumerate(queries):
        if len(query):
            best_LC = np.maximum.reduceat(np.asarray(query, np.float32) @ token_TR.T, start_C, axis=1)
            score_QC[q, filled] = best_LC.mean(0)
    return score_QC


def lexical_similarity(queries: Sequence[Mapping[str, Any]], candidates: Sequence[Mapping[str, Any]]) -> Floats:
    """Products of sparse vectors, `{"indices": [...], "values": [...]}` each, `(Q, C)`.

    >>> lexical_similarity([{"indices": [3, 7], "values": [1.0, 2.0]}], [{"indices": [7], "values": [0.5]}])
    array([[1.]])
    """
    from scipy.sparse import csr_array

    def stacked(vectors: Sequence[Mapping[str, Any]]) -> Any:
        bounds = np.cumsum([0, *(len(one["indices"]) for one in vectors)])
        parts = [[x for one in vectors for x in one[key]] for key in ("values", "indices")]
        return csr_array((np.array(parts[0], np.float64), np.array(parts[1], np.int64), bounds), (len(vectors), width))

    width = 1 + max((max(one["indices"]) for one in [*queries, *candidates] if len(one["indices"])), default=0)
    return np.asarray((stacked(queries) @ stacked(candidates).T).toarray())


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
    return ranks_by(lambda part: queries[part] @ candidates.T, len(queries), identity_C)


def ranks_by(similarity: Callable[[slice], Floats], queries: int, identities: Identities) -> npt.NDArray[np.int64]:
    """`ranks` for any similarity: a function from a range of queries to their similarities with all candidates, `(Q, C)`."""
    identity_C = np.asarray(identities)
    result = np.ones(queries, np.int64)
    step = max(1, CELLS // max(len(identity_C), 1))
    for start in range(0, queries, step):
        part = slice(start, min(start + step, queries))
        similarity_QC = similarity(part)
        right_QC = identity_C[part, None] == identity_C[None, :]
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
