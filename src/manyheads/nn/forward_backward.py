"""Probabilities of tags and spans in a linear-chain CRF by forward-backward (Rabiner 1989), in numpy, without torch.

Decided here:
- Sums over paths multiply by `exp(transitions)` after taking out each sequence's maximum. That is one small matrix
  product per step, where a log-sum-exp takes K² exponentials. It is exact while emissions lie within about 300 of each
  other, and finite beyond.
- A tag that may not begin a sequence (`I-X`) is one that continues a span. Nothing else is known of tag names here.

Shapes as in `viterbi.py`, and N spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from manyheads.nn.iob2 import FORBIDDEN
from manyheads.nn.time_major import Batch, Doubles, Floats, batches

Span = tuple[int, int, Sequence[int] | npt.NDArray[np.integer[Any]]]
"""First row, one past the last row, and the tag of each row between them."""

TINY = 1e-300
"""Least sum of path weights, so that its logarithm is finite."""


def marginals(emissions: Sequence[Floats], transitions_KK: Floats, start_K: Floats, end_K: Floats) -> list[Doubles]:
    """Probability of each tag in each row of each sequence, `(L, K)` float64."""
    transitions_KK, start_K, end_K = (np.asarray(rule, np.float64) for rule in (transitions_KK, start_K, end_K))
    results: list[Doubles] = [np.zeros((0, len(start_K)))] * len(emissions)
    for batch in batches(emissions, len(start_K)):
        before_TK, after_TK, total_T = _sums(batch, transitions_KK, start_K, end_K)
        chances = batch.split(np.exp(before_TK + after_TK - total_T[:, None]))
        for index, chance_LK in zip(batch.members, chances, strict=True):
            results[index] = chance_LK
    return results


def span_probabilities(
    emissions: Sequence[Floats], spans: Sequence[Sequence[Span]], transitions_KK: Floats, start_K: Floats, end_K: Floats
) -> list[npt.NDArray[np.float64]]:
    """Probability `(N,)` of each sequence's spans: those tags, and no continuation after them. Culotta & McCallum 2004.

    Exact: the sum over all paths into the span, times the span, times all paths from it that do not continue it, over the
    sum of all paths. Raises ValueError for a span outside its sequence.

    >>> rules = np.zeros((2, 2)), np.zeros(2), np.zeros(2)
    >>> span_probabilities([np.zeros((3, 2))], [[(0, 2, [1, 1])]], *rules)[0].round(2).tolist()
    [0.25]
    """
    transitions_KK, start_K, end_K = (np.asarray(rule, np.float64) for rule in (transitions_KK, start_K, end_K))
    for members, emissions_LK in zip(spans, emissions, strict=True):
        _check(members, len(emissions_LK))
    continues_KK = (start_K < FORBIDDEN / 2)[None, :] & (transitions_KK > FORBIDDEN / 2)
    onward_KK = np.where(continues_KK, -1e9, transitions_KK)
    results: list[Doubles] = [np.zeros(0)] * len(emissions)
    asked = [index for index, members in enumerate(spans) if members]  # the others need no sums
    for batch in batches([emissions[index] for index in asked], len(start_K)):
        places = [asked[index] for index in batch.members]
        chance_N = _chances(batch, [spans[index] for index in places], (transitions_KK, start_K, end_K), onward_KK)
        bounds = np.cumsum([len(spans[index]) for index in places])[:-1]
        for index, chances in zip(places, np.split(chance_N, bounds), strict=True):
            results[index] = chances
    return results


def _chances(
    batch: Batch, spans: Sequence[Sequence[Span]], rules: tuple[Doubles, Doubles, Doubles], onward_KK: Doubles
) -> Doubles:
    """Probability `(N,)` of all spans of a batch. P: rows of all spans together; rows are numbered over the batch."""
    transitions_KK, _, end_K = rules
    before_TK, after_TK, total_T = _sums(batch, *rules)
    offsets = np.cumsum([0, *batch.lengths[:-1]])
    rows = [(offset + start, offset + end, end == length)
            for members, offset, length in zip(spans, offsets, batch.lengths, strict=True)
            for start, end, _ in members]  # fmt: skip
    first_N, stop_N, ends_N = map(np.array, zip(*rows, strict=True))
    tag_P = np.concatenate([np.asarray(tag_L, np.int64) for members in spans for _, _, tag_L in members])
    size_N = stop_N - first_N
    span_P = np.repeat(np.arange(len(size_N)), size_N)
    opening_N = np.cumsum(size_N) - size_N
    row_P = first_N[span_P] + np.arange(len(tag_P)) - opening_N[span_P]
    last_tag_N = tag_P[opening_N + size_N - 1]

    entered_N = before_TK[first_N, tag_P[opening_N]]
    inner_P = np.flatnonzero(row_P != first_N[span_P])
    tag_I, previous_I = tag_P[inner_P], tag_P[inner_P - 1]
    inside_I = batch.emissions_TK[row_P[inner_P], tag_I] + transitions_KK[previous_I, tag_I]
    inside_N = np.bincount(span_P[inner_P], weights=inside_I, minlength=len(size_N))
    next_N = np.minimum(stop_N, len(before_TK) - 1)  # past the end it is not used
    onward_NK = onward_KK[last_tag_N] + batch.emissions_TK[next_N] + after_TK[next_N]
    left_N = np.where(ends_N, end_K[last_tag_N], _log_sum(onward_NK))
    chance_N: Doubles = np.exp(np.minimum(entered_N + inside_N + left_N - total_T[first_N], 0.0))
    return chance_N


def _check(spans: Sequence[Span], length: int) -> None:
    for start, end, tag_L in spans:
        if not 0 <= start < end <= length or len(tag_L) != end - start:
            raise ValueError(f"span {start}-{end} with {len(tag_L)} tags does not fit a sequence of {length}")


def _sums(batch: Batch, transitions_KK: Doubles, start_K: Doubles, end_K: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Forward and backward log sums `(T, K)` of each row, and the log partition `(T,)` of its sequence.

    Forward sums include the row's own emission, backward sums do not.
    """
    factor_KK = np.exp(transitions_KK)
    emission_KT = np.ascontiguousarray(batch.emissions_TK[batch.row_T].T)
    before_KT, after_KT = emission_KT.copy(), np.empty_like(emission_KT)
    before_KT[:, batch.steps[0]] += start_K[:, None]
    for last, step in pairwise(batch.steps):
        previous_KS = before_KT[:, last.start : last.start + step.stop - step.start]
        before_KT[:, step] += _log_product(factor_KK.T, previous_KS)
    after_KT[:] = end_K[:, None]
    for following, step in pairwise(reversed(batch.steps)):
        active = following.stop - following.start
        onward_KS = emission_KT[:, following] + after_KT[:, following]
        after_KT[:, step.start : step.start + active] = _log_product(factor_KK, onward_KS)
    before_TK, after_TK = before_KT.T[batch.place_T], after_KT.T[batch.place_T]
    last_S = np.cumsum(batch.lengths) - 1
    total_T = np.repeat(_log_sum(before_TK[last_S] + end_K), batch.lengths)
    return before_TK, after_TK, total_T


def _log_product(factor_KK: Doubles, log_KS: Doubles) -> Doubles:
    """`log(factor @ exp(log))` per column."""
    top_S = log_KS.max(axis=0)
    result_KS: Doubles = np.log(np.maximum(factor_KK @ np.exp(log_KS - top_S), TINY)) + top_S
    return result_KS


def _log_sum(log_NK: Doubles) -> Doubles:
    """`log(sum(exp(log)))` per row."""
    top_N = log_NK.max(axis=-1)
    result_N: Doubles = np.log(np.exp(log_NK - top_N[:, None]).sum(axis=-1)) + top_N
    return result_N
