"""Reading a linear-chain CRF: best paths, marginals and probabilities of spans, in numpy alone.

An exported model is decoded with this file and no torch. Training has its own half in `nn.crf`. Decided here:
- All sequences of a call advance together and the only loop is over time. They are sorted by length, so a sequence that
  has ended takes no further part, and arrays are K × sequences, so that every operation runs along long rows.
- float64. Paths take 1.5 ms for 4,096 rows of 9 tags, and 2,000 additions leave no question of rounding.
- Sums over paths multiply by `exp(transitions)` after taking out each sequence's maximum. That is one small matrix
  product a step where a log-sum-exp takes K² exponentials, and is exact while emissions lie within about 300 of each
  other; beyond that, values stay finite.
- A tag that may not begin a sequence (`I-X`) is one that continues a span. That is all that is known of tag names here.

Shapes: S sequences, T their rows laid end to end, L rows of one, K tags, N spans. `rules` are always the three arrays
`transitions_KK` (from, to), `start_K`, `end_K`, penalties for forbidden transitions included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Span = tuple[int, int, Sequence[int] | npt.NDArray[np.integer[Any]]]
"""First row, one past the last row, and the tag of each row between them."""

FORBIDDEN = -1e4
"""Added to the score of a transition that IOB2 does not allow. No emission outweighs it, and float16 can hold it."""
CELLS = 2**18
"""Sequences × K² and rows × K that are worked on at once: 2 MB each, whatever the size of the call."""
TINY = 1e-300
"""Least sum of path weights, so that its logarithm is finite."""


def iob2_rules(tags: Sequence[str]) -> tuple[npt.NDArray[np.float32], ...]:
    """Rules without learned scores: 0 where IOB2 allows a transition or start, `FORBIDDEN` where it does not.

    `I-X` may follow only `B-X` or `I-X`. Raises ValueError for a tag that is not `O`, `B-...` or `I-...`, for a tag
    given twice, and for an `I-X` that no `B-X` can lead to.
    """
    for tag in tags:
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3):
            raise ValueError(f"tag {tag!r} is not IOB2; give 'O', 'B-LABEL' or 'I-LABEL'")
        if tag.startswith("I-") and f"B-{tag[2:]}" not in tags:
            raise ValueError(f"tag {tag!r} can never be reached: 'B-{tag[2:]}' is not among the tags")
    if len(set(tags)) != len(tags):
        raise ValueError(f"a tag is given twice in {', '.join(tags)}")
    inside_K = np.array([tag.startswith("I-") for tag in tags], bool)
    label_K = np.array([tag[2:] for tag in tags])
    allowed_KK = ~inside_K[None, :] | (label_K[:, None] == label_K[None, :])
    return (
        np.where(allowed_KK, 0.0, FORBIDDEN).astype(np.float32),
        np.where(inside_K, FORBIDDEN, 0.0).astype(np.float32),
        np.zeros(len(tags), np.float32),
    )


class TimeMajor(NamedTuple):
    """Sequences laid end to end, read step by step: all first rows, then all second rows, longest sequence first."""

    row_T: Ints
    """Row of each place in that order."""
    active_L: Ints
    """How many sequences reach each step; never rising."""
    sequence_T: Ints
    """Sequence of each place; the first step has every sequence that is not empty once, longest first."""


def time_major(lengths: Sequence[int]) -> TimeMajor:
    """The order in which a recursion over time reads sequences of these lengths."""
    length_S = np.asarray(lengths, np.int64).reshape(-1)
    rank_S = np.empty_like(length_S)
    rank_S[np.argsort(-length_S, kind="stable")] = np.arange(len(length_S))
    sequence_T = np.repeat(np.arange(len(length_S)), length_S)
    position_T = np.arange(len(sequence_T)) - (np.cumsum(length_S) - length_S)[sequence_T]
    row_T = np.lexsort((rank_S[sequence_T], position_T))
    return TimeMajor(row_T, np.bincount(position_T), sequence_T[row_T])


def viterbi(
    emissions: Sequence[Floats], transitions_KK: Floats, start_K: Floats, end_K: Floats
) -> list[npt.NDArray[np.int64]]:
    """The best path of each sequence, `(L,)`; of equal paths the one with the lowest tags at its end. Viterbi 1967.

    `emissions` are `(L, K)` each, L may be 0. Raises ValueError when an array does not have K columns.
    """
    transitions_KK, start_K, end_K = (np.asarray(rule, np.float64) for rule in (transitions_KK, start_K, end_K))
    paths = [np.zeros(0, np.int64)] * len(emissions)
    for batch in _batches(emissions, len(start_K)):
        best_KT = _best_scores(batch, transitions_KK, start_K)
        tag_T = np.empty(best_KT.shape[1], np.int64)
        next_S = np.zeros(0, np.int64)
        for step in reversed(batch.steps):
            # A path's last tag leaves by the end scores, the others by the transition to the tag chosen after them.
            leave_KS = transitions_KK.take(next_S, axis=1)
            if len(next_S) < step.stop - step.start:
                ends_KS = np.repeat(end_K[:, None], step.stop - step.start - len(next_S), axis=1)
                leave_KS = np.concatenate([leave_KS, ends_KS], axis=1)
            next_S = (best_KT[:, step] + leave_KS).argmax(axis=0)
            tag_T[step] = next_S
        for index, path in zip(batch.members, batch.split(tag_T[batch.place_T]), strict=True):
            paths[index] = path
    return paths


def marginals(emissions: Sequence[Floats], transitions_KK: Floats, start_K: Floats, end_K: Floats) -> list[Doubles]:
    """The probability of each tag in each row, `(L, K)` float64, by forward-backward. Rabiner 1989."""
    transitions_KK, start_K, end_K = (np.asarray(rule, np.float64) for rule in (transitions_KK, start_K, end_K))
    results: list[Doubles] = [np.zeros((0, len(start_K)))] * len(emissions)
    for batch in _batches(emissions, len(start_K)):
        before_TK, after_TK, total_T = _sums(batch, transitions_KK, start_K, end_K)
        chances = batch.split(np.exp(before_TK + after_TK - total_T[:, None]))
        for index, chance_LK in zip(batch.members, chances, strict=True):
            results[index] = chance_LK
    return results


def span_probability(
    emissions_LK: Floats, spans: Sequence[Span], transitions_KK: Floats, start_K: Floats, end_K: Floats
) -> npt.NDArray[np.float64]:
    """The probability of each span `(N,)` of one sequence. See `span_probabilities`, which takes many at once."""
    return span_probabilities([emissions_LK], [spans], transitions_KK, start_K, end_K)[0]


def span_probabilities(
    emissions: Sequence[Floats],
    spans: Sequence[Sequence[Span]],
    transitions_KK: Floats,
    start_K: Floats,
    end_K: Floats,
) -> list[npt.NDArray[np.float64]]:
    """For each sequence, the probability `(N,)` that its spans occur: those tags, and no continuation after them.

    Exact: the sum over all paths into the span, times the span, times all ways on that do not continue it, over the sum
    of all paths. Culotta & McCallum 2004. Raises ValueError for a span that lies outside its sequence.
    """
    transitions_KK, start_K, end_K = (np.asarray(rule, np.float64) for rule in (transitions_KK, start_K, end_K))
    for members, emissions_LK in zip(spans, emissions, strict=True):
        _check(members, len(emissions_LK))
    continues_KK = (start_K < FORBIDDEN / 2)[None, :] & (transitions_KK > FORBIDDEN / 2)
    onward_KK = np.where(continues_KK, -1e9, transitions_KK)
    results: list[Doubles] = [np.zeros(0)] * len(emissions)
    asked = [index for index, members in enumerate(spans) if members]  # the others need no sums
    for batch in _batches([emissions[index] for index in asked], len(start_K)):
        places = [asked[index] for index in batch.members]
        flat = _flatten([spans[index] for index in places], batch.lengths)
        before_TK, after_TK, total_T = _sums(batch, transitions_KK, start_K, end_K)
        entered_N = before_TK[flat.first_N, flat.tag_P[flat.opening_N]]
        inner_P = np.setdiff1d(np.arange(len(flat.tag_P)), flat.opening_N)
        tag_P, previous_P = flat.tag_P[inner_P], flat.tag_P[inner_P - 1]
        inside_P = batch.emissions_TK[flat.row_P[inner_P], tag_P] + transitions_KK[previous_P, tag_P]
        inside_N = np.bincount(flat.span_P[inner_P], weights=inside_P, minlength=len(entered_N))
        next_N = np.minimum(flat.last_N + 1, len(before_TK) - 1)  # past the end it is not used
        onward_NK = onward_KK[flat.closing_tag_N] + batch.emissions_TK[next_N] + after_TK[next_N]
        left_N = np.where(flat.ends_N, end_K[flat.closing_tag_N], _log_sum(onward_NK))
        chance_N = np.exp(np.minimum(entered_N + inside_N + left_N - total_T[flat.first_N], 0.0))
        bounds = np.cumsum([len(spans[index]) for index in places])[:-1]
        for index, chances in zip(places, np.split(chance_N, bounds), strict=True):
            results[index] = chances
    return results


def _check(spans: Sequence[Span], length: int) -> None:
    for start, end, tag_L in spans:
        if not 0 <= start < end <= length or len(tag_L) != end - start:
            raise ValueError(f"span {start}-{end} with {len(tag_L)} tags does not fit a sequence of {length}")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some sequences of a call, longest first."""

    members: list[int]
    """Their places in the call."""
    lengths: list[int]
    emissions_TK: Doubles
    """Their rows laid end to end."""
    row_T: Ints
    """Row of each place in time-major order."""
    place_T: Ints
    """Place of each row in time-major order."""
    steps: list[slice]
    """The places of each step in time-major order."""

    def split(self, value_TX: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Rows laid end to end as one array for each sequence."""
        return np.split(value_TX, np.cumsum(self.lengths)[:-1])


def _batches(emissions: Sequence[Floats], tags: int) -> Iterator[_Batch]:
    """All sequences that have rows, in batches of bounded size and of similar lengths."""
    for index, emissions_LK in enumerate(emissions):
        if emissions_LK.ndim != 2 or emissions_LK.shape[1] != tags:
            raise ValueError(f"emissions {index} are {emissions_LK.shape}; the transitions are for {tags} tags")
    lengths = [len(emissions_LK) for emissions_LK in emissions]
    order = [int(i) for i in np.argsort([-length for length in lengths], kind="stable") if lengths[i]]
    while order:
        members, rows = [order[0]], lengths[order[0]]
        for index in order[1:]:
            rows += lengths[index]
            if (len(members) + 1) * tags**2 > CELLS or rows * tags > CELLS:
                break
            members.append(index)
        order = order[len(members) :]
        member_lengths = [lengths[index] for index in members]
        row_T, active_L, _ = time_major(member_lengths)
        stops = np.cumsum(active_L).tolist()
        yield _Batch(
            members,
            member_lengths,
            np.concatenate([emissions[index] for index in members]).astype(np.float64, copy=False),
            row_T,
            np.argsort(row_T),
            [slice(start, stop) for start, stop in pairwise([0, *stops])],
        )


def _best_scores(batch: _Batch, transitions_KK: Doubles, start_K: Doubles) -> Doubles:
    """Score `(K, T)` of the best path that ends in each tag at each place, in time-major order."""
    best_KT = np.ascontiguousarray(batch.emissions_TK[batch.row_T].T)
    tags, first = len(start_K), batch.steps[0]
    best_KT[:, first] += start_K[:, None]
    # One buffer for all steps: fresh megabytes at every step cost more than the arithmetic.
    buffer = np.empty(tags * tags * (first.stop - first.start))
    for before, step in pairwise(batch.steps):
        active = step.stop - step.start
        candidate_KKS = buffer[: tags * tags * active].reshape(tags, tags, active)
        previous_KS = best_KT[:, before.start : before.start + active]
        np.add(previous_KS[:, None, :], transitions_KK[:, :, None], out=candidate_KKS)
        best_KT[:, step] += candidate_KKS.max(axis=0)
    return best_KT


def _sums(batch: _Batch, transitions_KK: Doubles, start_K: Doubles, end_K: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Forward and backward log sums `(T, K)` of each row, and its sequence's log partition `(T,)`.

    Forward sums hold the row's own emission, backward sums do not.
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
    """`log(factor @ exp(log))` of each column."""
    top_S = log_KS.max(axis=0)
    result_KS: Doubles = np.log(np.maximum(factor_KK @ np.exp(log_KS - top_S), TINY)) + top_S
    return result_KS


def _log_sum(log_NK: Doubles) -> Doubles:
    """`log(sum(exp(log)))` of each row."""
    top_N = log_NK.max(axis=-1)
    result_N: Doubles = np.log(np.exp(log_NK - top_N[:, None]).sum(axis=-1)) + top_N
    return result_N


@dataclass(frozen=True, slots=True)
class _Spans:
    """Spans of all sequences of a batch: N of them, at least one, with P rows in all. Rows count over the batch."""

    first_N: Ints
    last_N: Ints
    ends_N: npt.NDArray[np.bool_]
    """Whether the span's last row is its sequence's."""
    opening_N: Ints
    """Place of the span's first row among the P."""
    closing_tag_N: Ints
    row_P: Ints
    tag_P: Ints
    span_P: Ints


def _flatten(spans: Sequence[Sequence[Span]], lengths: Sequence[int]) -> _Spans:
    first, size, ends, tags, base = [], [], [], [], 0
    for members, length in zip(spans, lengths, strict=True):
        for start, end, tag_L in members:
            first.append(base + start)
            size.append(end - start)
            ends.append(end == length)
            tags.append(np.asarray(tag_L, np.int64))
        base += length
    first_N, size_N = np.array(first, np.int64), np.array(size, np.int64)
    tag_P = np.concatenate(tags)
    opening_N = np.cumsum(size_N) - size_N
    span_P = np.repeat(np.arange(len(first_N)), size_N)
    return _Spans(
        first_N,
        first_N + size_N - 1,
        np.array(ends, bool),
        opening_N,
        tag_P[opening_N + size_N - 1],
        first_N[span_P] + np.arange(len(tag_P)) - opening_N[span_P],
        tag_P,
        span_P,
    )
