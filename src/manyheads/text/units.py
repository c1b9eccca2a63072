"""The units that entity recognition tags: the words of a text, or their letters.

Design:
- Words are those of `text.words`. If a row has its own words, and they begin or end inside one (`do`, `n't`), it is split
  there, so that spans of the row's words are spans of units.
- `letter` splits words into graphemes, for data whose spans end inside words: Korean, German compounds, product codes. In
  scripts without spaces each letter is a unit either way.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Literal

import numpy as np
import regex

from manyheads.text.words import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Units = npt.NDArray[np.int64]
    """Offsets (n, 2), in reading order, without overlaps."""

Unit = Literal["word", "letter"]

_START, _END = itemgetter(0), itemgetter(1)
_LETTER = regex.compile(r"\X")
_INVISIBLE = regex.compile(r"\p{Cf}+")


def units(text: str, unit: Unit = "word", given: Sequence[tuple[int, int]] | None = None) -> Units:
    """The units of a text, split at the edges of the words `given` with it, each of which has at least one."""
    found = words(text) if unit == "word" else _letters(text)
    units_U2 = np.array(found, np.int64).reshape(-1, 2)
    if given is None or _at_edges(found, given) or _fits(units_U2, given):
        return units_U2
    return _cut(units_U2, given)


def first_units(units_U2: Units, given: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """The first unit of each given word; the units must be split at their edges."""
    starts = np.array(given, np.int64).reshape(-1, 2)[:, 0]
    return np.searchsorted(units_U2[:, 1], starts, side="right")


def _letters(text: str) -> list[tuple[int, int]]:
    return [
        match.span()
        for start, end in words(text)
        for match in _LETTER.finditer(text, start, end)
        if not _INVISIBLE.fullmatch(match[0])
    ]


def _at_edges(found: Sequence[tuple[int, int]], given: Sequence[tuple[int, int]]) -> bool:
    """Whether all given words begin and end where units do, the usual case: five times as fast as `_fits`."""
    starts, ends = set(map(_START, found)), set(map(_END, found))
    return starts.issuperset(map(_START, given)) and ends.issuperset(map(_END, given))


def _fits(units_U2: Units, given: Sequence[tuple[int, int]]) -> bool:
    """Whether no given word begins or ends inside a unit, and each has one."""
    if not len(units_U2):
        return not given
    edge_N2 = np.array(given, np.int64).reshape(-1, 2)
    last = len(units_U2) - 1
    unit_N2 = np.searchsorted(units_U2[:, 1], edge_N2, side="right")
    start_N2 = np.where(unit_N2 > last, np.iinfo(np.int64).max, units_U2[np.minimum(unit_N2, last), 0])
    return bool((start_N2 >= edge_N2).all() and (start_N2[:, 0] < edge_N2[:, 1]).all())


def _cut(units_U2: Units, given: Sequence[tuple[int, int]]) -> Units:
    edges = np.unique(np.array(given, np.int64))
    found: list[tuple[int, int]] = []
    for start, end in units_U2.tolist():
        inner = edges[np.searchsorted(edges, start, "right") : np.searchsorted(edges, end)].tolist()
        found += pairwise([start, *inner, end])
    starts = [start for start, _ in found]
    found += [(start, end) for start, end in given if bisect_left(starts, start) == bisect_left(starts, end)]
    return np.array(sorted(found), np.int64).reshape(-1, 2)
