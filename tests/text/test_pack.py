"""Packs with a tail: steady in their tokens, and otherwise the packs they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.text.pack import LEAST_STEP, ROUNDED, Encoding, Pack, Segments, eighth_of, tail_lengths


def encodings(lengths: list[int]) -> list[Encoding]:
    made = []
    for i, length in enumerate(lengths):
        ids_L = np.arange(length, dtype=np.int32) + 10 * (i + 1)
        nothing_L = np.zeros(length, np.int32)
        made.append(Encoding(ids_L, nothing_L + 1, nothing_L, nothing_L, nothing_L.astype(np.int8), 0))
    return made


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=20), st.sampled_from([1, 2, 16, 64, 100, 1024]))
def test_a_tail_fills_the_pack_up_and_has_no_sequence_longer_than_the_longest(
    lengths: list[int], multiple: int
) -> None:
    tail = tail_lengths(lengths, multiple)
    assert (sum(lengths) + sum(tail)) % multiple == 0
    assert sum(tail) < multiple
    assert all(0 < length <= max(lengths) for length in tail)


def test_packs_of_any_length_come_in_eight_shapes_between_two_powers_of_two() -> None:
    shapes = set()
    for tokens in range(1, 4097):
        step = eighth_of(tokens)
        filled = tokens + -tokens % step
        assert step == LEAST_STEP or 8 * step <= tokens
        assert filled - tokens < step
        shapes.add(filled)
    for low in (128, 256, 512, 1024, 2048):
        assert sum(low < shape <= 2 * low for shape in shapes) == 8
    assert len([shape for shape in shapes if shape <= 128]) == 8


def test_a_pack_with_a_tail_begins_with_the_pack_without() -> None:
    given_ = encodings([3, 7, 5])
    plain, steady = Pack.of(given_), Pack.of(given_, 32)
    assert (plain.tokens, steady.tokens) == (15, 32)
    assert steady.segments.lengths == (3, 7, 5, 7, 7, 3)
    for one, two in ((plain.ids_T, steady.ids_T), (plain.position_T, steady.position_T), (plain.type_T, steady.type_T)):
        assert torch.equal(one, two[:15])
        assert one.dtype == two.dtype
    part = steady.part(0, 3)
    assert torch.equal(part.ids_T, plain.ids_T)
    assert torch.equal(part.segments.bounds_S1, plain.segments.bounds_S1)
    assert steady.ids_T[15:].count_nonzero() == 0
    assert steady.position_T[15:].tolist() == [*range(7), *range(7), *range(3)]


def test_a_pack_that_is_steady_already_has_no_tail() -> None:
    assert Pack.of(encodings([3, 5]), 8).segments.lengths == (3, 5)


@pytest.mark.parametrize(("longest", "bound"), [(1, ROUNDED), (ROUNDED, ROUNDED), (ROUNDED + 1, 2 * ROUNDED)])
def test_the_bound_on_lengths_is_the_longest_rounded_up(longest: int, bound: int) -> None:
    assert Segments.of([1, longest]).bound_length == bound
