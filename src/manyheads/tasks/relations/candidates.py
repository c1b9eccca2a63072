"""Candidate pairs of entities, by their types and their distance.

Decided here:
- A pair is a candidate if its types have a relation somewhere in the training data, in this direction, and if no more words
  are between the two than between any related pair there. Other pairs are right too rarely to be asked about.
- A pair knows how many other spans of its head's and of its tail's type are between the two: most relations are with the
  nearest span of a type, which the words between do not show.
- A relation between concepts holds for all mentions of both, so all these pairs are gold. What is found between two mentions
  is then found between their concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array
from manyheads.tasks.spans import SpanExample, SpanWords

if TYPE_CHECKING:
    from manyheads.tasks.relations.task import Relations
    from manyheads.text.spans import CharSpan

EDGES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
"""Least numbers of words between two spans in each bucket of distances."""
DISTANCES = 2 * len(EDGES) + 1
"""Buckets, for each order of the two; the last is for spans that overlap."""

MOST_OTHERS = 2
"""Other spans of a type between two are counted up to this number."""
CROWDS = (MOST_OTHERS + 1) ** 2
"""Numbers of others of the head's and the tail's type."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """P ordered pairs of the N spans of several texts."""

    type_N: Array
    """Type of each span; -1 for one that cannot be an end."""
    head_P: Array
    tail_P: Array
    """Places among the spans."""
    between_2P: Array
    """First word between the two, and one past the last."""
    distance_P: Array
    """Bucket of the distance."""
    crowd_P: Array
    """Numbers of other spans between, of the tail's type and (times MOST_OTHERS + 1) of the head's."""


def words_between(first_N: Array, stop_N: Array, head_P: Array, tail_P: Array) -> tuple[Array, Array]:
    """Bounds `(2, P)` of the words between two spans, empty if they overlap or adjoin; and which pairs overlap."""
    start_P = np.minimum(stop_N[head_P], stop_N[tail_P])
    end_P = np.maximum(first_N[head_P], first_N[tail_P])
    return np.stack([np.minimum(start_P, end_P), end_P]), end_P < start_P


def candidates(task: Relations, spans: Sequence[Sequence[CharSpan]], words: SpanWords) -> Pairs:
    """All candidate pairs within each text."""
    heads, tails, base = [], [], 0
    allowed_LL = task.allowed_types
    place = {label: k for k, label in enumerate(task.types)}
    type_N = np.array([place.get(span[2], -1) for mine in spans for span in mine], np.int64)
    there_N = words.stop_N > words.first_N
    for mine in spans:
        type_M = type_N[base : base + len(mine)]
        known = np.flatnonzero((type_M >= 0) & there_N[base : base + len(mine)])
        pair_MM = allowed_LL[type_M[known][:, None], type_M[known][None, :]]
        np.fill_diagonal(pair_MM, val=False)
        head_P, tail_P = np.nonzero(pair_MM)
        heads.append(known[head_P] + base)
        tails.append(known[tail_P] + base)
        base += len(mine)
    head_P, tail_P = (np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64) for parts in (heads, tails))
    between_2P, overlap_P = words_between(words.first_N, words.stop_N, head_P, tail_P)
    gap_P = between_2P[1] - between_2P[0]
    near = gap_P <= task.most_words
    bucket_P = np.searchsorted(EDGES, gap_P, side="right") - 1
    bucket_P += np.where(words.first_N[head_P] > words.first_N[tail_P], len(EDGES), 0)
    bucket_P[overlap_P] = DISTANCES - 1
    crowd_P = _others(words, type_N, tail_P, between_2P) + (MOST_OTHERS + 1) * _others(words, type_N, head_P, between_2P)
    return Pairs(type_N, head_P[near], tail_P[near], between_2P[:, near], bucket_P[near], crowd_P[near])


def _others(words: SpanWords, type_N: Array, end_P: Array, between_2P: Array) -> Array:
    """How many spans of the type of an end begin between the two, `(P,)`, at most MOST_OTHERS."""
    count_P = np.zeros(len(end_P), np.int64)
    for kind in np.unique(type_N[end_P]):
        begins_W = np.bincount(words.first_N[type_N == kind], minlength=words.bounds[-1] + 1)
        before_W = np.concatenate([[0], begins_W.cumsum()])
        mine = type_N[end_P] == kind
        count_P[mine] = before_W[between_2P[1, mine]] - before_W[between_2P[0, mine]]
    return np.minimum(count_P, MOST_OTHERS)


def gold_pairs(example: SpanExample) -> set[tuple[int, int, str]]:
    """The related pairs of mentions, by their places, with labels."""
    return {(head, tail, one.label) for one in example.relations for head in one.heads for tail in one.tails if head != tail}
