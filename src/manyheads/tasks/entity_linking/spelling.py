"""Names that are spelled like a mention: equal after normalisation, or with many character trigrams in common.

Names are compared by the cosine of their trigrams, each once and weighted by its inverse document frequency, as in
scikit-learn: log((1 + N) / (1 + df)) + 1. A space at either end marks the edges of a name.

Decided here:
- A trigram is a number of 63 bits (three code points of 21), so a vocabulary needs no strings and lies on disk.
- The rarest trigrams of a mention find its candidates, up to POSTINGS names that have them; all trigrams then score these. So
  a mention takes the same time in a dictionary of 1,000 names and of 100,000.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from manyheads.tasks.base import Array
from manyheads.tasks.entity_linking.strings import bounds_of, checked, checked_bounds
from manyheads.tasks.entity_linking.terms import keys_of
from manyheads.tasks.ranges import ranges

POSTINGS = 4096
"""Names looked at for one mention, before they are scored in full."""
RESCORED = 4
"""Times as many names are scored in full as are asked for."""
BITS = np.uint64(21)


@dataclass(frozen=True, slots=True, eq=False)
class Spelling:
    """N names by their normalised form and by their trigrams."""

    key_N: Array
    """Hashes of the normalised names, ascending."""
    name_N: Array
    """The name of each key."""
    gram_G: Array
    """Trigrams, ascending."""
    bound_G1: Array
    posting_P: Array
    """The names that have each trigram."""
    bound_N1: Array
    gram_P: Array
    """The trigrams of each name, as places in `gram_G`."""

    @staticmethod
    def of(names: Sequence[str]) -> Spelling:
        """Index names."""
        keys = keys_of(names)
        hash_N = _hashes(keys)
        order_N = np.argsort(hash_N, kind="stable")
        grams, counts = _grams(keys)
        gram_G, place_X = np.unique(grams, return_inverse=True)
        name_X = np.repeat(np.arange(len(names)), counts)
        pair_P = np.unique(name_X * max(len(gram_G), 1) + place_X)
        name_P, gram_P = np.divmod(pair_P, max(len(gram_G), 1))
        by_gram_P = np.argsort(gram_P, kind="stable")
        return Spelling(
            hash_N[order_N], order_N.astype(np.int32),
            gram_G, bounds_of(np.bincount(gram_P, minlength=len(gram_G))), name_P[by_gram_P].astype(np.int32),
            bounds_of(np.bincount(name_P, minlength=len(names))), gram_P.astype(np.int32),
        )  # fmt: skip

    def equal(self, key: str) -> Array:
        """Names whose normalised form is this one (or has its hash, which never happened by chance)."""
        wanted = _hashes([key])
        first, stop = (int(np.searchsorted(self.key_N, wanted, side)[0]) for side in ("left", "right"))
        return np.sort(self.name_N[first:stop])

    def query(self, key: str) -> Query:
        """The trigrams of a normalised mention."""
        grams = np.unique(_grams([key])[0])
        place = np.searchsorted(self.gram_G, grams)
        place = place[self.gram_G[np.minimum(place, len(self.gram_G) - 1)] == grams] if len(self.gram_G) else place[:0]
        return Query(place, self._weights(place))

    def similar(self, query: Query, count: int) -> tuple[Array, Array]:
        """The names most similar to a mention, at most `count`, and their cosines."""
        start_Q, stop_Q = self.bound_G1[query.gram_Q], self.bound_G1[query.gram_Q + 1]
        order_Q = np.argsort(stop_Q - start_Q, kind="stable")
        reach = int(np.searchsorted(np.cumsum((stop_Q - start_Q)[order_Q]), POSTINGS, side="right"))
        used = order_Q[: max(reach, 1)]
        if not len(used):
            return np.zeros(0, np.int64), np.zeros(0)
        parts = [self.posting_P[start:stop] for start, stop in zip(start_Q[used], stop_Q[used], strict=True)]
        posting_P = np.concatenate(parts)
        order_P = np.argsort(posting_P)  # a count for each of all names would take longer
        first = np.flatnonzero(np.diff(posting_P[order_P], prepend=-1))
        square_P = np.repeat(query.weight_Q[used] ** 2, list(map(len, parts)))
        found, shared = posting_P[order_P[first]], np.add.reduceat(square_P[order_P], first)
        length = np.sqrt((self.bound_N1[found + 1] - self.bound_N1[found]).astype(np.float64))
        found = _best(found, shared / length, RESCORED * count)
        cosine = self.cosines([query], np.zeros(len(found), np.int64), found)
        order = np.lexsort((found, -cosine))[:count]
        return found[order], cosine[order]

    def cosines(self, queries: Sequence[Query], query_X: Array, name_X: Array) -> Array:
        """Cosines of X pairs of a mention, by its place among the queries, and a name."""
        start_X, stop_X = self.bound_N1[name_X], self.bound_N1[name_X + 1]
        pair_T = np.repeat(np.arange(len(name_X)), stop_X - start_X)
        gram_T = self.gram_P[ranges(start_X, stop_X)]
        square_T = self._weights(gram_T) ** 2
        size, each = len(self.gram_G), np.array([len(query.gram_Q) for query in queries], np.int64)
        asked = np.repeat(np.arange(len(queries)), each) * size + np.concatenate([query.gram_Q for query in queries])
        wanted_T = query_X[pair_T] * size + gram_T
        place_T = np.minimum(np.searchsorted(asked, wanted_T), max(len(asked) - 1, 0))
        shared_T = np.where(asked[place_T] == wanted_T, square_T, 0.0) if len(asked) else np.zeros(len(gram_T))
        length_Q = np.array([(query.weight_Q**2).sum() for query in queries])
        length_X = np.sqrt(np.bincount(pair_T, square_T, len(name_X)) * length_Q[query_X])
        return np.bincount(pair_T, shared_T, len(name_X)) / np.maximum(length_X, 1e-12)

    def _weights(self, grams: Array) -> Array:
        names, frequency = len(self.bound_N1) - 1, self.bound_G1[grams + 1] - self.bound_G1[grams]
        return np.log((1.0 + names) / (1.0 + frequency)) + 1.0

    def arrays(self) -> dict[str, Array]:
        """For a file."""
        return {
            "key.hashes": self.key_N, "key.names": self.name_N, "gram.codes": self.gram_G, "gram.bounds": self.bound_G1,
            "gram.names": self.posting_P, "name.bounds": self.bound_N1, "name.grams": self.gram_P,
        }  # fmt: skip

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], names: int) -> Spelling:
        """The inverse of `arrays`, for so many names. Raises ValueError."""
        gram_G, postings = checked(arrays, "gram.codes", np.uint64), checked(arrays, "gram.names", np.int32, below=names)
        grams = checked(arrays, "name.grams", np.int32, below=len(gram_G))
        keys, name_N = checked(arrays, "key.hashes", np.uint64), checked(arrays, "key.names", np.int32, below=names)
        if len(keys) != names or len(name_N) != names:
            raise ValueError(f"has {len(keys):,} keys of {names:,} names")
        return Spelling(
            keys, name_N, gram_G, checked_bounds(arrays, "gram.bounds", len(postings), len(gram_G)), postings,
            checked_bounds(arrays, "name.bounds", len(grams), names), grams,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """The trigrams of a mention that some name has, ascending, and their weights."""

    gram_Q: Array
    weight_Q: Array


def _best(found: Array, score: Array, count: int) -> Array:
    """The places with the highest scores, at most `count`."""
    return found if len(found) <= count else found[np.argpartition(-score, count)[:count]]


def _hashes(keys: Sequence[str]) -> Array:
    digests = b"".join(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest() for key in keys)
    return np.frombuffer(digests, np.uint64)


def _grams(keys: Sequence[str]) -> tuple[Array, Array]:
    """All trigrams of keys, end to end, and how many each has."""
    points = np.frombuffer("".join(f" {key} " for key in keys).encode("utf-32-le", "surrogatepass"), np.uint32)
    wide = points.astype(np.uint64)
    grams = (wide[:-2] << (BITS + BITS)) | (wide[1:-1] << BITS) | wide[2:]
    lengths = np.array([len(key) for key in keys], np.int64) + 2
    ends = np.cumsum(lengths)
    kept = np.ones(len(wide), bool)
    kept[ends - 1] = False
    kept[ends - 2] = False
    return grams[kept[:-2]], lengths - 2
