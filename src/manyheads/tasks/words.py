"""Words of texts in windows of tokens: which piece speaks for each, in training and in answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from manyheads.tasks.base import Array, Item
from manyheads.text.pack import Encoding
from manyheads.text.windows import owned
from manyheads.text.words import first_pieces, places_in_pieces, within


def placed(words: Sequence[Array], encodings: Sequence[Sequence[Sequence[Encoding]]]) -> dict[str, Array]:
    """Where the words of texts, offsets `(W, 2)` each, are in their windows; P words, those in two windows twice.

    `piece_P` (row in the task's tokens), `unit_P` which of all words it is, `words_S` how many are in each window. Of words
    that are not the first of their piece, `inner_I` (which of P) and `place_I` (which of the piece).
    """
    pieces, places, seen, counts, base, first = [], [], [], [], 0, 0
    for offsets_W2, asked in zip(words, encodings, strict=True):
        unit_W = np.arange(first, first + len(offsets_W2))
        for window in asked[0]:
            reached = within(offsets_W2, window)
            piece_W = first_pieces(offsets_W2[reached], window)
            here = piece_W >= 0
            pieces.append(piece_W[here] + base)
            places.append(places_in_pieces(offsets_W2[reached], piece_W, window)[here])
            seen.append(unit_W[reached][here])
            counts.append(int(here.sum()))
            base += len(window)
        first += len(offsets_W2)
    place_P = np.concatenate(places)
    inner_I = np.flatnonzero(place_P)
    return {
        "piece_P": np.concatenate(pieces).astype(np.int64),
        "unit_P": np.concatenate(seen),
        "words_S": np.array(counts, dtype=np.int64),
        "inner_I": inner_I,
        "place_I": place_P[inner_I],
    }


@dataclass(frozen=True, slots=True)
class Owned:
    """The words that one window of an item answers for."""

    output: Mapping[str, Array]
    """Of the head, for the window."""
    word_W: Array
    """Which of the item's words they are."""
    piece_W: Array
    """The token of each."""
    place_W: Array
    """Which word of that token it is, from 0."""


def owned_words(offsets_W2: Array, item: Item) -> Iterator[Owned]:
    """Window by window the words that it owns: each word is answered once, where it has most context."""
    number_W = np.arange(len(offsets_W2))
    for window, own, output in zip(item.encodings, owned(item.encodings, 0), item.outputs, strict=True):
        reached = within(offsets_W2, window)  # words times windows would be quadratic in the text
        piece_W = first_pieces(offsets_W2[reached], window)
        place_W = places_in_pieces(offsets_W2[reached], piece_W, window)
        mine_L = np.zeros(len(window), bool)
        mine_L[own if (window.part_L == 0).any() else slice(None)] = True
        here = (piece_W >= 0) & mine_L[piece_W]
        yield Owned(output, number_W[reached][here], piece_W[here], place_W[here])
