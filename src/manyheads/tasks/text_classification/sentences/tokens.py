"""The tokens that stand for each sentence of a text, in training and in answers.

Decided here:
- A sentence is the mean of its tokens in the window that has it whole with the most context on its shorter side. Where no
  window has it whole, each token counts in the window with most context for it, as for words (`text/windows.py`): the mean
  of the windows' means, weighted by tokens.
- A sentence in which no token starts (invisible characters) is the token before it.
- Sentences past the last window, which only training leaves out, have no tokens.

Shapes: N sentences, P tokens of all sentences, G tokens of the whole text, S windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings
from manyheads.tasks.ranges import ranges
from manyheads.text.pack import Encoding

if TYPE_CHECKING:
    import torch


def tokens_of_sentences(offsets_N2: Array, windows: Sequence[Encoding]) -> tuple[Array, Array]:
    """`row_P`, a token's row in the windows laid end to end, and `sentence_P`, its sentence; in the order of sentences."""
    numbers_N = np.arange(len(offsets_N2))
    place = np.flatnonzero(windows[0].part_L == 0)
    room = len(place)
    if not room:  # special tokens only
        return np.zeros_like(numbers_N), numbers_N
    first_S = np.array([window.first_token[0] for window in windows])
    low_N, high_N = _token_ranges(offsets_N2, windows)
    sentence_P = np.repeat(numbers_N, high_N - low_N)
    token_P = ranges(low_N, high_N)
    whole_N = _window_around(first_S, low_N, high_N, room)
    fits_N = (first_S[whole_N] <= low_N) & (high_N <= first_S[whole_N] + room)
    window_P = np.where(fits_N[sentence_P], whole_N[sentence_P], _window_around(first_S, token_P, token_P + 1, room))
    begin_S = np.cumsum([0, *map(len, windows)])[:-1]
    return begin_S[window_P] + place[0] + token_P - first_S[window_P], sentence_P


def locate_sentences(sentences: Sequence[Sequence[tuple[int, int]]], encodings: Encodings) -> dict[str, Array]:
    """Tokens of the sentences of texts that have any: `row_P` in the task's tokens, `sentence_P`, and `share_P`, one over
    the tokens of the sentence; and `sentences_B`, how many of each text have tokens (its first ones).
    """  # fmt: skip
    rows, numbers, base = [], [], 0
    counts: list[int] = []
    for offsets, asked in zip(sentences, encodings, strict=True):
        row_P, sentence_P = tokens_of_sentences(np.array(offsets, np.int64).reshape(-1, 2), asked[0])
        rows.append(row_P + base)
        numbers.append(sentence_P + sum(counts))
        counts.append(int(sentence_P[-1]) + 1 if len(sentence_P) else 0)
        base += sum(map(len, asked[0]))
    sentence_P = np.concatenate(numbers).astype(np.int64)
    share_P = 1 / np.bincount(sentence_P, minlength=1)[sentence_P]
    return {
        "row_P": np.concatenate(rows).astype(np.int64),
        "sentence_P": sentence_P,
        "share_P": share_P.astype(np.float32),
        "sentences_B": np.array(counts, np.int64),
    }


def mean_over_tokens(values_TK: torch.Tensor, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Means of token values over the sentences of `locate_sentences`, `(N, K)`, differentiable."""
    means_NK = values_TK.new_zeros(int(targets["sentences_B"].sum()), values_TK.shape[1])
    return means_NK.index_add(0, targets["sentence_P"], values_TK[targets["row_P"]] * targets["share_P"][:, None])


def _token_ranges(offsets_N2: Array, windows: Sequence[Encoding]) -> tuple[Array, Array]:
    """First token of each sentence in the text, and the one after its last; equal for sentences past the windows."""
    last = windows[-1]
    start_G = np.zeros(last.first_token[0] + int((last.part_L == 0).sum()), np.int64)
    for window in windows:
        own = window.start_L[window.part_L == 0]
        start_G[window.first_token[0] : window.first_token[0] + len(own)] = own
    low_N, high_N = (np.searchsorted(start_G, edge_N) for edge_N in offsets_N2.T)
    bare_N = low_N == high_N
    low_N = np.where(bare_N, np.maximum(low_N - 1, 0), low_N)
    beyond_N = (offsets_N2[:, 0] >= last.after) & (last.after >= 0)
    return low_N, np.where(beyond_N, low_N, np.where(bare_N, low_N + 1, high_N))


def _window_around(first_S: Array, low_N: Array, high_N: Array, room: int) -> Array:
    """The window with the most tokens on the shorter side of each range: the one around its middle, the earlier of equals."""
    return np.searchsorted((first_S[:-1] + first_S[1:]) / 2, (low_N + high_N - room) / 2)
