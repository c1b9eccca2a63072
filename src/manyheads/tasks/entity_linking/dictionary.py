"""The concepts that mentions are linked to: identifiers, names, and where to find the candidates of a mention.

Candidates are the concepts with a name equal to the mention after normalisation, with names of similar spelling, and with the
nearest vectors. Each has three features, of its best names: equal (0 or 1), cosine of trigrams, cosine of vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from manyheads.tasks.base import Array
from manyheads.tasks.entity_linking.spelling import Query, Spelling
from manyheads.tasks.entity_linking.strings import Strings, bounds_of, checked_bounds
from manyheads.tasks.entity_linking.terms import Concept, keys_of
from manyheads.tasks.entity_linking.vectors import Vectors
from manyheads.tasks.ranges import ranges

SPELLED = 24
"""Names of similar spelling that become candidates."""
NEAREST = 16
"""Names with the nearest vectors that become candidates."""
MOST_NAMES = 24
"""Names of a concept that are compared with a mention, beside those that made it a candidate."""
MOST_MENTIONS = 1 << 16
"""Mentions whose candidates by spelling are remembered."""
MENTIONS = 128
"""Mentions that are compared at a time."""
FEATURES = 3
ANY_TYPE = -2


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Some concepts for a mention."""

    concept_C: Array
    """Ascending."""
    feature_CF: Array
    """Equal, cosine of trigrams, cosine of vectors."""


@dataclass(frozen=True, slots=True, eq=False)
class _Spelled:
    """What is found of a mention by its spelling alone."""

    query: Query
    equal_N: Array
    name_N: Array
    """The names found, those that are equal among them."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """C concepts with N names; those of a concept adjoin, the preferred one first."""

    ids: Strings
    types: Strings
    """The type of each concept, empty for none."""
    names: Strings
    bound_C1: Array
    """The names of each concept."""
    spelling: Spelling
    vectors: Vectors | None = None
    """None until names are encoded."""
    _spelled: dict[str, _Spelled] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(concepts: Sequence[Concept]) -> Dictionary:
        """Index concepts."""
        names = [name for one in concepts for name in one.names]
        return Dictionary(
            Strings.of([one.id for one in concepts]), Strings.of([one.type for one in concepts]), Strings.of(names),
            bounds_of(np.array([len(one.names) for one in concepts], np.int64)), Spelling.of(names),
        )  # fmt: skip

    @cached_property
    def concept_of_name(self) -> Array:
        """The concept of each name."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.bound_C1))

    @cached_property
    def place_of_id(self) -> dict[str, int]:
        """The concept of each identifier."""
        return {identifier: c for c, identifier in enumerate(self.ids.all())}

    @cached_property
    def type_of_concept(self) -> Array:
        """The number of the type of each concept among `known_types`; -1 for none."""
        place = {kind: k for k, kind in enumerate(self.known_types)}
        return np.array([place.get(kind.casefold(), -1) for kind in self.types.all()])

    @cached_property
    def known_types(self) -> list[str]:
        """Types of concepts, without case."""
        return sorted({kind.casefold() for kind in self.types.all()} - {""})

    @property
    def digest(self) -> str:
        """A sha256 of identifiers, types and names."""
        parts = (self.ids, self.types, self.names)
        whole = [array.tobytes() for part in parts for array in (part.utf8_X, part.bound_N1)]
        return hashlib.sha256(b"".join([*whole, np.asarray(self.bound_C1).tobytes()])).hexdigest()

    def name_of(self, concept: int) -> str:
        """The preferred name of a concept."""
        return self.names[int(self.bound_C1[concept])]

    def names_of(self, concept: int) -> range:
        """The names of a concept."""
        return range(int(self.bound_C1[concept]), int(self.bound_C1[concept + 1]))

    def places(self, identifiers: Sequence[str]) -> list[int]:
        """The concepts with these identifiers; those that the dictionary lacks are left out."""
        return [self.place_of_id[one] for one in identifiers if one in self.place_of_id]

    def spelled(self, mention: str) -> Array:
        """Names that a mention equals or resembles, the most similar first."""
        return self._find(mention).name_N

    def candidates(self, mentions: Sequence[str], vector_ND: Array, labels: Sequence[str]) -> list[Candidates]:
        """Concepts for each mention with a vector of length 1.

        If the label of an entity is a type of the dictionary, concepts of other types are left out.
        """
        parts = (slice(at, at + MENTIONS) for at in range(0, len(mentions), MENTIONS))
        return [one for part in parts for one in self._candidates(mentions[part], vector_ND[part], labels[part])]

    def _candidates(self, mentions: Sequence[str], vector_ND: Array, labels: Sequence[str]) -> list[Candidates]:
        """All mentions at once: a pair of a mention and a name or concept is one number, which sorts by the mention."""
        found = [self._find(mention) for mention in mentions]
        names, concepts = len(self.names), len(self.ids)
        first = _pairs([one.name_N for one in found], names)
        if self.vectors is not None:
            first = np.union1d(first, _pairs(self.vectors.nearest(vector_ND, NEAREST), names))
        first_C = first // names * concepts + self.concept_of_name[first % names]
        pair_C = np.unique(first_C)
        pair_C = pair_C[self._is_of_type(pair_C % concepts, np.array([*map(self._type, labels)])[pair_C // concepts])]
        mention_C, concept_C = np.divmod(pair_C, concepts)
        start_C = self.bound_C1[concept_C]
        stop_C = np.minimum(self.bound_C1[concept_C + 1], start_C + MOST_NAMES)
        listed = ranges(start_C, stop_C) + np.repeat(mention_C * names, stop_C - start_C)
        pair_X = np.union1d(listed, first[np.isin(first_C, pair_C)])
        mention_X, name_X = np.divmod(pair_X, names)
        feature_XF = np.zeros((len(pair_X), FEATURES))
        feature_XF[:, 0] = np.isin(pair_X, _pairs([one.equal_N for one in found], names))
        feature_XF[:, 1] = self.spelling.cosines([one.query for one in found], mention_X, name_X)
        if self.vectors is not None:
            feature_XF[:, 2] = self.vectors.cosines(vector_ND, mention_X, name_X)
        owner_X = mention_X * concepts + self.concept_of_name[name_X]  # ascending, as names of a concept adjoin
        best_CF = np.maximum.reduceat(feature_XF, np.searchsorted(owner_X, pair_C)) if len(pair_C) else feature_XF
        bound_N = np.searchsorted(mention_C, np.arange(len(mentions) + 1))
        return [Candidates(concept_C[a:b], best_CF[a:b]) for a, b in pairwise(bound_N.tolist())]

    def _type(self, label: str) -> int:
        """The number of the type that is an entity's label; ANY_TYPE if the dictionary has no such type."""
        kind = label.casefold()
        return self.known_types.index(kind) if kind in self.known_types else ANY_TYPE

    def _is_of_type(self, concept_C: Array, wanted_C: Array) -> Array:
        kind_C = self.type_of_concept[concept_C]
        return (wanted_C == ANY_TYPE) | (kind_C < 0) | (kind_C == wanted_C)

    def _find(self, mention: str) -> _Spelled:
        found = self._spelled.get(mention)
        if found is None:
            [key] = keys_of([mention])
            query, equal_N = self.spelling.query(key), self.spelling.equal(key)
            similar, _ = self.spelling.similar(query, SPELLED)
            names = np.array([*dict.fromkeys([*equal_N.tolist(), *similar.tolist()])], np.int64)
            if len(self._spelled) >= MOST_MENTIONS:
                self._spelled.clear()
            found = self._spelled[mention] = _Spelled(query, equal_N, names)
        return found

    def with_vectors(self, texts: Sequence[str], vector_MD: Array) -> Dictionary:
        """With vectors of the names that are among these texts."""
        row = {text: m for m, text in enumerate(texts)}
        row_N = np.array([row.get(name, -1) for name in self.names.all()], np.int64)
        name_M = np.zeros(len(texts), np.int64)
        has_N = np.flatnonzero(row_N >= 0)[::-1]
        name_M[row_N[has_N]] = has_N  # of several names spelled alike, the first
        return replace(self, vectors=Vectors.of(vector_MD, name_M, row_N))

    def arrays(self) -> dict[str, Array]:
        """For a file."""
        texts = {**self.ids.arrays("ids"), **self.types.arrays("types"), **self.names.arrays("names")}
        dense = {} if self.vectors is None else self.vectors.arrays()
        return {**texts, "concept.bounds": self.bound_C1, **self.spelling.arrays(), **dense}

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> Dictionary:
        """The inverse of `arrays`. Raises ValueError for damaged ones."""
        ids, types, names = (Strings.from_arrays(arrays, name) for name in ("ids", "types", "names"))
        if len(types) != len(ids) or not len(ids):
            raise ValueError(f"has {len(ids):,} identifiers and {len(types):,} types")
        bound_C1 = checked_bounds(arrays, "concept.bounds", len(names), len(ids))
        if (np.diff(bound_C1) < 1).any():
            raise ValueError("has a concept without a name")
        spelling = Spelling.from_arrays(arrays, len(names))
        vectors = Vectors.from_arrays(arrays, len(names)) if "vector.values" in arrays else None
        return Dictionary(ids, types, names, bound_C1, spelling, vectors)


def _pairs(found: Sequence[Array], size: int) -> Array:
    """Things found for each mention, numbered below `size`, as pairs `mention * size + thing`, ascending, each once."""
    mention_X = np.repeat(np.arange(len(found)), [len(one) for one in found])
    return np.unique(mention_X * size + np.concatenate(found))
