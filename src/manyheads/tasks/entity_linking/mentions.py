"""Vectors of mentions and of names: means of what the head gives for their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Item
from manyheads.tasks.entity_linking.strings import bounds_of
from manyheads.tasks.entity_linking.vectors import unit
from manyheads.tasks.ranges import ranges
from manyheads.tasks.spans import SpanWords, spans_of_items

if TYPE_CHECKING:
    import torch

    from manyheads.text.pack import Encoding


def piece_stops(words: SpanWords, windows: Sequence[Encoding]) -> Array:
    """One past the last token of each word, `(W,)`, in the tokens of all windows of all texts."""
    start_T = np.concatenate([window.start_L for window in windows]) if windows else np.zeros(0, np.int64)
    part_T = np.concatenate([window.part_L for window in windows]) if windows else np.zeros(0, np.int8)
    stop_W = words.row_W + 1
    open_W = np.flatnonzero(stop_W < len(start_T))
    while len(open_W):
        token = stop_W[open_W]
        inside = (part_T[token] == 0) & (start_T[token] < words.end_W[open_W]) & (start_T[token] >= start_T[token - 1])
        open_W = open_W[inside]
        stop_W[open_W] += 1
        open_W = open_W[stop_W[open_W] < len(start_T)]
    return stop_W


def span_means(
    vector_TD: torch.Tensor, row_W: torch.Tensor, stop_W: torch.Tensor, first_N: torch.Tensor, last_N: torch.Tensor
) -> torch.Tensor:
    """Means over the tokens of the words `first` to `last` (exclusive), `(N, D)`; zero for none."""
    import torch

    sums = torch.cat([vector_TD.new_zeros((1, vector_TD.shape[1])), vector_TD]).double().cumsum(0)
    word_WD = sums[stop_W] - sums[row_W]
    words = torch.cat([word_WD.new_zeros((1, word_WD.shape[1])), word_WD]).cumsum(0)
    tokens = torch.cat([stop_W.new_zeros(1), stop_W - row_W]).cumsum(0)
    count_N = (tokens[last_N] - tokens[first_N]).clamp(min=1)
    return ((words[last_N] - words[first_N]) / count_N[:, None]).to(vector_TD.dtype)


def mention_vectors(items: Sequence[Item], wanted: Array) -> Array:
    """Vectors of length 1 of the `wanted` ones among all spans of items, `(N, D)` float32."""
    words = spans_of_items(items)
    stop_W = piece_stops(words, [window for item in items for window in item.encodings])
    vector_TD = np.concatenate([output["vector_TX"] for item in items for output in item.outputs])
    first_N, stop_N = words.first_N[wanted], words.stop_N[wanted]
    word_X = ranges(first_N, stop_N)
    token_X = ranges(words.row_W[word_X], stop_W[word_X])
    before_W1 = bounds_of(stop_W - words.row_W)
    count_N = before_W1[stop_N] - before_W1[first_N]
    mean_ND = np.zeros((len(wanted), vector_TD.shape[1]), np.float32)
    filled = np.flatnonzero(count_N)
    if len(filled):
        sums = np.add.reduceat(vector_TD[token_X], bounds_of(count_N)[filled], axis=0)
        mean_ND[filled] = sums / count_N[filled, None]
    return unit(mean_ND)


def name_vectors(items: Sequence[Item]) -> Array:
    """Means over all tokens of names, `(N, D)` float32."""
    return np.stack([np.concatenate([output["vector_TX"] for output in item.outputs]).mean(0) for item in items])
