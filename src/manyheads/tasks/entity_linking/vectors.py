"""Vectors of names, and the nearest ones of a mention by cosine.

Decided here:
- Vectors have length 1 and are kept in float16: 100,000 of width 384 take 77 MB.
- Above WHOLE of them, they are divided into about 4 sqrt(M) clusters (spherical k-means), and only those with the nearest
  centres are looked at, PROBED vectors in all. A cluster is one range of the file, so that little of it is read.
- These are looked at in 8 bits, and the best of them in float16, which numpy converts ten times more slowly: 2,048 vectors
  took 1.5 ms for a mention.
- numpy is enough for this: faiss would be one more dependency for the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from manyheads.metrics.vectors import unit_rows
from manyheads.tasks.base import Array
from manyheads.tasks.entity_linking.strings import bounds_of, checked, checked_bounds

WHOLE, PROBED = 2048, 640
ROUNDS = 4
"""Of k-means."""
SAMPLE = 16
"""Vectors for each centre that k-means looks at, until all are assigned."""
AT_ONCE = 16_384
NOWHERE = -1
PAIRS = 8192
"""Pairs of a mention and a name whose vectors are compared at a time."""
RESCORED = 4
"""Times as many vectors are compared in float16 as are asked for."""
LEVELS = 127


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Vectors of M of the N names, by cluster."""

    vector_MD: Array
    """float16, of length 1."""
    coarse_MD: Array
    """The same in int8, scaled by one factor, so that products have the same order."""
    name_M: Array
    """The name of each."""
    row_N: Array
    """The vector of each name; NOWHERE for none."""
    centre_KD: Array
    """float32, of length 1."""
    bound_K1: Array
    """The vectors of each cluster."""
    _whole: list[Array] = field(default_factory=list, repr=False)
    """All vectors in float32, where there are few; made when they are first used."""

    @staticmethod
    def of(vector_MD: Array, name_M: Array, row_N: Array) -> Vectors:
        """Index vectors of any length; `row_N` gives each name its vector, which names may share."""
        unit_MD = unit(vector_MD)
        centre_KD = _centres(unit_MD)
        cluster_M = _nearest(unit_MD, centre_KD)
        order_M = np.argsort(cluster_M, kind="stable")
        place_M = np.empty(len(order_M), np.int32)
        place_M[order_M] = np.arange(len(order_M), dtype=np.int32)
        row_N = np.where(row_N >= 0, place_M[row_N] if len(place_M) else row_N, NOWHERE).astype(np.int32)
        bound_K1 = bounds_of(np.bincount(cluster_M, minlength=len(centre_KD)))
        unit_MD = unit_MD[order_M]
        most = max(float(np.abs(unit_MD).max(initial=0.0)), 1e-12)
        coarse_MD = np.rint(unit_MD * (LEVELS / most)).astype(np.int8)
        half_MD, name_M = unit_MD.astype(np.float16), name_M[order_M].astype(np.int32)
        return Vectors(half_MD, coarse_MD, name_M, row_N, centre_KD, bound_K1)

    def nearest(self, mention_ND: Array, count: int) -> list[Array]:
        """For each mention, the names whose vectors are nearest, at most `count`."""
        if len(self.name_M) > WHOLE:
            return [self._near(*one, count) for one in zip(mention_ND, mention_ND @ self.centre_KD.T, strict=True)]
        return [self.name_M[_top(score_M, count)] for score_M in mention_ND @ self._few().T]

    def _near(self, mention_D: Array, score_K: Array, count: int) -> Array:
        """The nearest names among those of the nearest clusters, given the products with their centres."""
        order_K = np.argsort(-score_K, kind="stable")
        sizes = np.cumsum((self.bound_K1[1:] - self.bound_K1[:-1])[order_K])
        probed = order_K[: max(1, int(np.searchsorted(sizes, PROBED, side="right")))]
        spans = [slice(self.bound_K1[k], self.bound_K1[k + 1]) for k in probed.tolist()]
        rows = np.concatenate([np.arange(one.start, one.stop) for one in spans])
        scores = np.concatenate([self.coarse_MD[one].astype(np.float32) @ mention_D for one in spans])
        rows = np.sort(rows[_top(scores, RESCORED * count)])
        return self.name_M[rows[_top(self.vector_MD[rows].astype(np.float32) @ mention_D, count)]]

    def cosines(self, mention_ND: Array, mention_X: Array, name_X: Array) -> Array:
        """Cosines of X pairs of a mention of length 1, by its place, and a name; 0 for a name without a vector."""
        row_X = self.row_N[name_X]
        if not len(self.vector_MD):
            return np.zeros(len(name_X))
        place_X = np.maximum(row_X, 0)
        if len(self.name_M) <= WHOLE:
            found_X = (mention_ND @ self._few().T)[mention_X, place_X]
        else:
            pieces = [slice(at, at + PAIRS) for at in range(0, len(name_X), PAIRS)]
            found_X = np.concatenate([np.zeros(0), *(self._products(mention_ND[mention_X[x]], place_X[x]) for x in pieces)])
        return np.where(row_X >= 0, found_X, 0.0)

    def _products(self, mention_XD: Array, row_X: Array) -> Array:
        return np.einsum("xd,xd->x", mention_XD, self.vector_MD[row_X].astype(np.float32))

    def _few(self) -> Array:
        if not self._whole:
            self._whole.append(self.vector_MD.astype(np.float32))
        return self._whole[0]

    def arrays(self) -> dict[str, Array]:
        """For a file."""
        return {
            "vector.values": self.vector_MD, "vector.coarse": self.coarse_MD, "vector.names": self.name_M,
            "vector.rows": self.row_N, "cluster.centres": self.centre_KD, "cluster.bounds": self.bound_K1,
        }  # fmt: skip

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], names: int) -> Vectors:
        """The inverse of `arrays`, for so many names. Raises ValueError."""
        vector_MD = checked(arrays, "vector.values", np.float16, axes=2)
        coarse_MD = checked(arrays, "vector.coarse", np.int8, axes=2)
        centre_KD = checked(arrays, "cluster.centres", np.float32, axes=2)
        name_M, row_N = checked(arrays, "vector.names", np.int32, below=names), checked(arrays, "vector.rows", np.int32)
        fits = coarse_MD.shape == vector_MD.shape == (len(name_M), centre_KD.shape[1]) and len(row_N) == names
        if not fits or (row_N.min() < NOWHERE or row_N.max() >= len(vector_MD)):
            raise ValueError(f"has {len(vector_MD):,} vectors that are not those of {names:,} names")
        bounds = checked_bounds(arrays, "cluster.bounds", len(vector_MD), len(centre_KD))
        return Vectors(vector_MD, coarse_MD, name_M, row_N, centre_KD, bounds)


def unit(vector_MD: Array) -> Array:
    """Vectors as float32 of length 1; a vector of zeros stays."""
    return unit_rows(np.asarray(vector_MD, np.float32))


def _top(score: Array, count: int) -> Array:
    """Places of the highest scores, the highest first."""
    best = np.arange(len(score)) if len(score) <= count else np.argpartition(-score, count)[:count]
    return best[np.lexsort((best, -score[best]))]


def _centres(unit_MD: Array) -> Array:
    """Centres of clusters: one for few vectors, else about 4 sqrt(M). The draw depends on nothing but M."""
    if len(unit_MD) <= WHOLE:
        return unit(unit_MD.mean(0, keepdims=True)) if len(unit_MD) else np.zeros((1, unit_MD.shape[1]), np.float32)
    count = int(4 * np.sqrt(len(unit_MD)))
    draw = np.random.default_rng(len(unit_MD)).permutation(len(unit_MD))
    sample_XD, centre_KD = unit_MD[draw[: SAMPLE * count]], unit_MD[draw[:count]]
    for _ in range(ROUNDS):
        cluster_X = _nearest(sample_XD, centre_KD)
        order_X = np.argsort(cluster_X, kind="stable")
        there_K, first_K = np.unique(cluster_X[order_X], return_index=True)
        centre_KD = centre_KD.copy()
        centre_KD[there_K] = unit(np.add.reduceat(sample_XD[order_X], first_K, axis=0))
    return centre_KD


def _nearest(unit_MD: Array, centre_KD: Array) -> Array:
    """The nearest centre of each vector, `(M,)`."""
    parts = [(unit_MD[at : at + AT_ONCE] @ centre_KD.T).argmax(1) for at in range(0, len(unit_MD), AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
