"""Attention in buckets against torch's own, one sequence at a time, and its backward pass against autograd."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.nn.cpu.dropout import dropout_mask
from manyheads.nn.cpu.length_buckets import STEP, Bucket, LengthBuckets, attend, attend_backward, length_buckets

CASES = {
    "1 to 70, mixed": (13, 1, 70, 16, 2, 17, 70, 33, 15, 48, 1, 64),
    "one token": (1,),
    "one sequence": (23,),
    "equal lengths": (9, 9, 9, 9),
    "multiples of 16": (32, 16, 64, 16, 32),
    "one multiple among others": (16, 12, 16, 5),
}
HEADS, WIDTH = 3, 4
SCALING = 0.37


def members(lengths: tuple[int, ...], bucket: Bucket) -> list[int]:
    """The sequences of one bucket, in their order in the pack."""
    return [s for s, length in enumerate(lengths) if -(-length // STEP) * STEP == bucket.length]


def masks_of(places: LengthBuckets, lengths: tuple[int, ...], flat: torch.Tensor) -> dict[int, torch.Tensor]:
    """Each sequence's own part of the scores of all buckets, `(H, L, L)`."""
    found = {}
    for bucket in places.buckets:
        square = places.squares(flat, bucket).view(bucket.count, places.heads, bucket.length, bucket.length)
        for n, s in enumerate(members(lengths, bucket)):
            found[s] = square[n, :, : lengths[s], : lengths[s]]
    return found


def by_sequence(qkv_TX: torch.Tensor, lengths: tuple[int, ...], heads: int = HEADS) -> list[tuple[torch.Tensor, ...]]:
    """Query, key and value of each sequence, `(H, L, E)`."""
    return [
        part.view(len(part), 3, heads, -1).permute(1, 2, 0, 3).unbind() for part in qkv_TX.split_with_sizes([*lengths])
    ]


def reference(
    qkv_TX: torch.Tensor, lengths: tuple[int, ...], masks: dict[int, torch.Tensor] | None, dropout: float
) -> torch.Tensor:
    """Attention with dropout, step by step, for autograd to differentiate."""
    outs = []
    for s, (query, key, value) in enumerate(by_sequence(qkv_TX, lengths)):
        weights = torch.einsum("hie,hje->hij", query, key).mul(SCALING).softmax(-1)
        if masks is not None:
            weights = weights * masks[s] / (1 - dropout)
        outs.append(torch.einsum("hij,hje->ihe", weights, value).flatten(1))
    return torch.cat(outs)


def drawn(lengths: tuple[int, ...], seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), 3 * HEADS * WIDTH, generator=generator) * spread


@pytest.mark.parametrize("lengths", CASES.values(), ids=CASES)
@pytest.mark.parametrize("heads", [1, 3])
def test_every_token_is_found_once(lengths: tuple[int, ...], heads: int) -> None:
    places, tokens = length_buckets(lengths, heads), sum(lengths)
    rows = len(places.source_R)
    for given_back, taken, size, room in (
        (places.given_T3H, places.taken_3R, 3 * tokens * heads, 3 * rows),
        (places.result_TH, places.source_R, tokens * heads, rows),
    ):
        assert len(given_back) == size
        assert len(taken) == room
        assert len(set(given_back.tolist())) == size, "no row is given to two tokens"
        assert torch.equal(taken[given_back], torch.arange(size)), "what was taken is given back to where it stood"
    real = torch.ones(rows, dtype=torch.bool)
    real[places.padding] = False
    assert torch.equal(real.nonzero()[:, 0], places.result_TH.sort().values), "padding is all the rest"
    assert len(places.padding) == rows - tokens * heads


@pytest.mark.parametrize("lengths", CASES.values(), ids=CASES)
def test_buckets_hold_every_sequence_rounded_up_and_follow_one_another(lengths: tuple[int, ...]) -> None:
    places = length_buckets(lengths, HEADS)
    assert sum(bucket.count for bucket in places.buckets) == len(lengths)
    assert {bucket.length: bucket.count for bucket in places.buckets} == {
        bucket.length: len(members(lengths, bucket)) for bucket in places.buckets
    }
    rows = [bucket.count * HEADS * bucket.length for bucket in places.buckets]
    squares = [bucket.count * HEADS * bucket.length**2 for bucket in places.buckets]
    assert [bucket.first for bucket in places.buckets] == [0, *accumulate(rows)][:-1]
    assert [bucket.first_score for bucket in places.buckets] == [0, *accumulate(squares)][:-1]
    assert places.scores == sum(squares)
    for bucket in places.buckets:
        own = torch.tensor([lengths[s] for s in members(lengths, bucket)])
        padded = torch.arange(bucket.length) >= own[:, None]
        assert (bucket.bias is None) == (not padded.any())
        if bucket.bias is not None:
            assert bucket.bias.shape == (bucket.count, 1, 1, bucket.length)
            assert torch.equal(bucket.bias[:, 0, 0] == -math.inf, padded)
            assert not bucket.bias[:, 0, 0][~padded].any()


@pytest.mark.parametrize("lengths", CASES.values(), ids=CASES)
def test_attention_is_torch_s_own_on_each_sequence(lengths: tuple[int, ...]) -> None:
    qkv_TX = drawn(lengths)
    got, saved = attend(qkv_TX, length_buckets(lengths, HEADS), SCALING, None, 0.0)
    expected = [
        torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=SCALING).transpose(0, 1).flatten(1)
        for q, k, v in by_sequence(qkv_TX, lengths)
    ]
    assert got.shape == (sum(lengths), HEADS * WIDTH)
    assert torch.allclose(got, torch.cat(expected), atol=1e-6)
    assert saved.kept is None


@pytest.mark.parametrize("lengths", CASES.values(), ids=CASES)
@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5])
def test_result_and_gradient_are_those_of_autograd_under_the_same_mask(
    lengths: tuple[int, ...], dropout: float
) -> None:
    places = length_buckets(lengths, HEADS)
    torch.manual_seed(4)
    flat = dropout_mask((places.scores,), dropout) if dropout else None
    masks = None if flat is None else masks_of(places, lengths, flat)
    qkv_TX = drawn(lengths).requires_grad_()
    expected = reference(qkv_TX, lengths, masks, dropout)
    gradient_TX = drawn(lengths, seed=1)[:, : HEADS * WIDTH].contiguous()
    (expected_back,) = torch.autograd.grad(expected, qkv_TX, gradient_TX)
    got, saved = attend(qkv_TX.detach(), places, SCALING, flat, dropout)
    assert torch.allclose(got, expected, atol=2e-6)
    back = attend_backward(gradient_TX, saved, places, SCALING, dropout)
    assert back.shape == qkv_TX.shape
    assert torch.allclose(back, expected_back, atol=5e-6), float((back - expected_back).abs().max())


def test_the_backward_pass_leaves_what_it_reads_as_it_was() -> None:
    lengths = CASES["1 to 70, mixed"]
    places = length_buckets(lengths, HEADS)
    gradient_TX = drawn(lengths, seed=1)[:, : HEADS * WIDTH].contiguous()
    for dropout in (0.0, 0.3):
        _, saved = attend(
            drawn(lengths), places, SCALING, dropout_mask((places.scores,), dropout) if dropout else None, dropout
        )
        read = [x for x in (gradient_TX, saved.rows_3RE, saved.weights, saved.kept) if x is not None]
        before = [x.clone() for x in read]
        once = attend_backward(gradient_TX, saved, places, SCALING, dropout)
        twice = attend_backward(gradient_TX, saved, places, SCALING, dropout)
        assert torch.equal(once, twice)
        assert all(torch.equal(x, y) for x, y in zip(read, before, strict=True))


def test_scores_that_would_overflow_an_exponential_give_finite_results() -> None:
    """Padding has -inf beside scores of thousands."""
    lengths = (5, 20, 16)
    places = length_buckets(lengths, HEADS)
    qkv_TX = drawn(lengths, spread=60.0).requires_grad_()
    got, saved = attend(qkv_TX.detach(), places, SCALING, None, 0.0)
    back = attend_backward(torch.ones_like(got), saved, places, SCALING, 0.0)
    assert got.isfinite().all()
    assert back.isfinite().all()
    assert torch.allclose(got, reference(qkv_TX, lengths, None, 0.0), atol=1e-2)


def test_the_same_lengths_are_laid_out_once() -> None:
    assert length_buckets((3, 4, 5), 2) is length_buckets((3, 4, 5), 2)
    assert length_buckets((3, 4, 5), 2) is not length_buckets((3, 4, 5), 4)
    assert length_buckets((3, 4, 5), 2) is not length_buckets((5, 4, 3), 2)


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=8).map(tuple),
    dropout=st.sampled_from([0.0, 0.25]),
    seed=st.integers(0, 1000),
)
def test_any_lengths_give_what_autograd_gives(lengths: tuple[int, ...], dropout: float, seed: int) -> None:
    places = length_buckets(lengths, HEADS)
    torch.manual_seed(seed)
    flat = dropout_mask((places.scores,), dropout) if dropout else None
    qkv_TX = drawn(lengths, seed).requires_grad_()
    expected = reference(qkv_TX, lengths, None if flat is None else masks_of(places, lengths, flat), dropout)
    gradient_TX = torch.randn(sum(lengths), HEADS * WIDTH)
    (expected_back,) = torch.autograd.grad(expected, qkv_TX, gradient_TX)
    got, saved = attend(qkv_TX.detach(), places, SCALING, flat, dropout)
    assert torch.allclose(got, expected, atol=5e-6)
    assert torch.allclose(attend_backward(gradient_TX, saved, places, SCALING, dropout), expected_back, atol=1e-5)
