"""The stream: every example once an epoch, ranges that partition, nothing but a function of its arguments."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.data.stream import Stream

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(LENGTHS, st.integers(0, 2**40), st.text(max_size=8), st.integers(0, 10**9))
def test_an_epoch_holds_every_example_once(lengths, seed, name, epoch):
    stream = Stream(np.array(lengths), seed, name)
    assert sorted(stream.order(epoch)) == list(range(len(lengths)))
    total = stream.tokens_per_epoch
    assert stream.between(epoch * total, (epoch + 1) * total) == stream.order(epoch).tolist()


@given(LENGTHS, st.lists(st.integers(0, 120), min_size=1, max_size=20), st.integers(0, 10**7))
def test_consecutive_ranges_partition_the_stream(lengths, widths, start):
    stream = Stream(np.array(lengths), 0, "task")
    pieces, at = [], start
    for width in widths:
        pieces += stream.between(at, at + width)
        at += width
    assert pieces == Stream(np.array(lengths), 0, "task").between(start, at)


@given(LENGTHS, st.integers(0, 500), st.integers(0, 300))
def test_a_range_holds_the_examples_that_start_in_it(lengths, start, width):
    stream = Stream(np.array(lengths), 3, "task")
    expected, at = [], 0
    for epoch in range((start + width) // stream.tokens_per_epoch + 1):
        for index in stream.order(epoch).tolist():
            if start <= at < start + width:
                expected.append(index)
            at += lengths[index]
    assert stream.between(start, start + width) == expected


def test_order_depends_on_seed_name_and_epoch_and_on_nothing_else():
    lengths = np.ones(50, np.int32)
    orders = [
        Stream(lengths, seed, name).order(epoch).tolist()
        for seed, name, epoch in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    ]
    assert len({tuple(order) for order in orders}) == 4
    np.random.seed(7)
    assert Stream(lengths * 3, 0, "a").order(0).tolist() == orders[0]


def test_the_order_is_the_same_on_every_machine_and_version():
    assert Stream(np.ones(10), 0, "entities").order(0).tolist() == [4, 8, 5, 3, 7, 1, 6, 9, 0, 2]


def test_a_far_step_costs_one_epoch():
    stream = Stream(np.full(200_000, 20), 0, "task")
    began = time.perf_counter()
    assert 200 <= len(stream.between(4096 * 10**6, 4096 * (10**6 + 1))) <= 210
    assert time.perf_counter() - began < 2


def test_orders_look_random():
    stream = Stream(np.ones(8), 0, "task")
    firsts = np.bincount([stream.order(epoch)[0] for epoch in range(4000)], minlength=8)
    assert ((firsts - 500) ** 2 / 500).sum() < 24.3  # chi-square, 7 degrees of freedom, p = 0.001


@pytest.mark.parametrize("lengths", [[], [3, 0], [[1, 2]]])
def test_a_stream_needs_examples_with_tokens(lengths):
    with pytest.raises(ValueError, match="at least one example"):
        Stream(np.array(lengths), 0, "task")


def test_orders_cannot_be_changed_by_their_reader_and_ranges_must_be_ranges():
    stream = Stream(np.ones(4), 0, "task")
    with pytest.raises(ValueError, match="read-only"):
        stream.order(0)[0] = 1
    with pytest.raises(ValueError, match="not a range of tokens: 5 to 4"):
        stream.between(5, 4)
