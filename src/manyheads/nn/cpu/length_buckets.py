"""Attention of a training step on the CPU, forward and backward by hand, over buckets of sequences of similar length.

Sequences are bucketed by their length rounded up to a multiple of 16, so a step of 60 sequences is about ten batched
products, not sixty. The gather also lays out heads one after the other: every product would copy rows of `(heads * d)` anew.
Both directions of a gather are an `index_select`: the rows of a pack are distinct, so its gradient needs no addition.
Padding in a bucket: keys have a score of -inf, queries a gradient of 0.

Legend, beside that of `text/pack.py`: H heads, E width of a head, R rows of one head in all buckets together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

STEP = 16
"""Lengths are rounded up to a multiple of this: softmax and products of other lengths take up to 1.5 times as long."""


@dataclass(frozen=True, slots=True, eq=False)
class Bucket:
    """Sequences of similar length: `count` times H squares of `length`."""

    count: int
    length: int
    first: int
    """Its first row among R."""
    first_score: int
    """Its first score among those of all buckets."""
    bias: torch.Tensor | None
    """0 or -inf for each key, `(count, 1, 1, length)`; None without padding."""


@dataclass(frozen=True, slots=True, eq=False)
class LengthBuckets:
    """The place of each token of a pack in buckets, for a number of heads."""

    heads: int
    buckets: tuple[Bucket, ...]
    scores: int
    """Number of scores in all buckets."""
    taken_3R: torch.Tensor
    """For each row of query, key and value in the buckets, the row of `(T, 3, H)` it is taken from."""
    given_T3H: torch.Tensor
    """For each row of `(T, 3, H)`, the row in the buckets."""
    result_TH: torch.Tensor
    """For each row of `(T, H)`, its row among R."""
    source_R: torch.Tensor
    """For each row among R, the row of `(T, H)`; padding repeats the last token of its sequence."""
    padding: torch.Tensor
    """Rows among R that are padding."""

    def parts(self, rows_3RE: torch.Tensor, bucket: Bucket) -> torch.Tensor:
        """Query, key and value of one bucket: `(3, count * H, length, E)`."""
        size = bucket.count * self.heads * bucket.length
        shape = (3, bucket.count * self.heads, bucket.length, rows_3RE.shape[-1])
        return rows_3RE[3 * bucket.first : 3 * (bucket.first + size)].view(shape)

    def rows(self, rows_RE: torch.Tensor, bucket: Bucket) -> torch.Tensor:
        """The rows of one bucket: `(count * H, length, E)`."""
        size = bucket.count * self.heads * bucket.length
        return rows_RE[bucket.first : bucket.first + size].view(-1, bucket.length, rows_RE.shape[-1])

    def squares(self, flat: torch.Tensor, bucket: Bucket) -> torch.Tensor:
        """Scores of one bucket: `(count * H, length, length)`."""
        size = bucket.count * self.heads * bucket.length**2
        return flat[bucket.first_score : bucket.first_score + size].view(-1, bucket.length, bucket.length)


@lru_cache(maxsize=4)
def length_buckets(lengths: tuple[int, ...], heads: int) -> LengthBuckets:
    """The buckets of sequences laid end to end. Cached, as every layer of a step asks for the same ones."""
    lengths_S = np.asarray(lengths)
    starts_S = np.cumsum(lengths_S) - lengths_S
    rounded_S = -(-lengths_S // STEP) * STEP
    tokens = int(lengths_S.sum())
    part_3, head_H = np.arange(3)[:, None, None, None], np.arange(heads)[None, :, None]
    given, result = np.empty(tokens * 3 * heads, np.int64), np.empty(tokens * heads, np.int64)
    buckets, taken, source, padding = [], [], [], []
    first = square = 0
    for length in np.unique(rounded_S):
        members = np.flatnonzero(rounded_S == length)
        count = len(members)
        place_L = np.arange(length)
        real_NL = place_L < lengths_S[members, None]
        token_NL = starts_S[members, None] + np.minimum(place_L, lengths_S[members, None] - 1)
        from_NHL = token_NL[:, None] * heads + head_H
        from_3NHL = (token_NL[:, None] * 3 + part_3) * heads + head_H
        row_NHL = np.arange(count * heads * length).reshape(count, heads, length)
        real_NHL = np.broadcast_to(real_NL[:, None], row_NHL.shape)
        result[from_NHL[real_NHL]] = first + row_NHL[real_NHL]
        row_3NHL = 3 * first + part_3 * row_NHL.size + row_NHL
        real_3NHL = np.broadcast_to(real_NL[:, None], row_3NHL.shape)
        given[from_3NHL[real_3NHL]] = row_3NHL[real_3NHL]
        taken.append(from_3NHL.ravel())
        source.append(from_NHL.ravel())
        padding.append(first + row_NHL[~real_NHL])
        bias = None
        if not real_NL.all():
            bias = torch.zeros(count, 1, 1, int(length))
            bias.masked_fill_(torch.from_numpy(~real_NL)[:, None, None], float("-inf"))
        buckets.append(Bucket(count, int(length), first, square, bias))
        first += row_NHL.size
        square += row_NHL.size * int(length)
    return LengthBuckets(
        heads, tuple(buckets), square, _index(taken), torch.from_numpy(given), torch.from_numpy(result),
        _index(source), _index(padding),
    )  # fmt: skip


def _index(parts: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(parts))


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    """What the backward pass of `attend` needs."""

    rows_3RE: torch.Tensor
    weights: torch.Tensor
    """Softmax of the scores of all buckets."""
    kept: torch.Tensor | None
    """Dropout mask, 1 or 0 for each weight; None without dropout."""


def attend(
    qkv_TX: torch.Tensor, places: LengthBuckets, scaling: float, kept: torch.Tensor | None, dropout: float
) -> tuple[torch.Tensor, Attended]:
    """Attention `(T, H * E)` from query, key and value side by side, `(T, 3 * H * E)`."""
    width = qkv_TX.shape[1] // (3 * places.heads)
    rows_3RE = qkv_TX.view(-1, width).index_select(0, places.taken_3R)
    out_RE = qkv_TX.new_empty(len(places.source_R), width)
    weights = qkv_TX.new_empty(places.scores)
    for bucket in places.buckets:
        query, key, value = places.parts(rows_3RE, bucket)
        square = places.squares(weights, bucket)
        torch.baddbmm(square, query, key.transpose(1, 2), beta=0, alpha=scaling, out=square)
        if bucket.bias is not None:
            square.view(bucket.count, places.heads, bucket.length, bucket.length).add_(bucket.bias)
        torch.ops.aten._softmax.out(square, -1, False, out=square)
        dropped = square if kept is None else square * places.squares(kept, bucket)
        out = places.rows(out_RE, bucket)
        torch.baddbmm(out, dropped, value, beta=0, alpha=1 / (1 - dropout), out=out)
    out_TX = out_RE.index_select(0, places.result_TH).view(len(qkv_TX), -1)
    return out_TX, Attended(rows_3RE, weights, kept)


def attend_backward(
    gradient_TX: torch.Tensor, saved: Attended, places: LengthBuckets, scaling: float, dropout: float
) -> torch.Tensor:
    """Gradient of query, key and value `(T, 3 * H * E)`, from that of `attend`'s result."""
    width = saved.rows_3RE.shape[1]
    up = 1 / (1 - dropout)
    gradient_RE = gradient_TX.view(-1, width).index_select(0, places.source_R)
    if len(places.padding):
        gradient_RE.index_fill_(0, places.padding, 0.0)
    back_3RE = torch.empty_like(saved.rows_3RE)
    for bucket in places.buckets:
        query, key, value = places.parts(saved.rows_3RE, bucket)
        to_query, to_key, to_value = places.parts(back_3RE, bucket)
        square, gradient = places.squares(saved.weights, bucket), places.rows(gradient_RE, bucket)
        mask = None if saved.kept is None else places.squares(saved.kept, bucket)
        dropped = square if mask is None else square * mask
        torch.baddbmm(to_value, dropped.transpose(1, 2), gradient, beta=0, alpha=up, out=to_value)
        inner = dropped if mask is not None else torch.empty_like(square)
        torch.baddbmm(inner, gradient, value.transpose(1, 2), beta=0, alpha=up, out=inner)
        if mask is not None:
            inner.mul_(mask)
        torch.ops.aten._softmax_backward_data.out(inner, square, -1, inner.dtype, grad_input=inner)
        torch.baddbmm(to_query, inner, key, beta=0, alpha=scaling, out=to_query)
        torch.baddbmm(to_key, inner.transpose(1, 2), query, beta=0, alpha=scaling, out=to_key)
    return back_3RE.index_select(0, places.given_T3H).view(len(gradient_TX), -1)
