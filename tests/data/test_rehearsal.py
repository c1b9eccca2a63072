"""New examples mixed with old ones: equal parts, every old one before any is repeated."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from manyheads.data.rehearsal import MixedStream
from manyheads.data.stream import Stream


def mixed(new: int, old: int, first: int | None = None) -> MixedStream:
    lengths = np.random.default_rng(0).integers(3, 9, new + old)
    return MixedStream(Stream(lengths[:new], 0, "t"), Stream(lengths[new:], 0, "t old"), new if first is None else first)


@pytest.mark.parametrize(("new", "old"), [(10, 100), (100, 10), (7, 7)])
def test_ranges_partition_the_stream(new: int, old: int) -> None:
    stream = mixed(new, old)
    whole = stream.between(0, 3 * stream.tokens_per_epoch)
    cuts = [*range(0, 3 * stream.tokens_per_epoch, 37), 3 * stream.tokens_per_epoch]
    parts = [index for start, stop in pairwise(cuts) for index in stream.between(start, stop)]
    assert Counter(parts) == Counter(whole)
    assert all(count == 3 for index, count in Counter(whole).items() if index < new)
    assert len(stream) == pytest.approx(len(whole) / 3, abs=2)


def test_an_epoch_has_as_many_tokens_of_the_old_as_of_the_new_and_takes_turns() -> None:
    stream = mixed(10, 100)
    assert stream.tokens_per_epoch == 2 * stream.new.tokens_per_epoch
    epochs = [stream.between(k * stream.tokens_per_epoch, (k + 1) * stream.tokens_per_epoch) for k in range(8)]
    old = [index for epoch in epochs for index in epoch if index >= 10]
    assert len(set(old)) == len(old) > 60, "none is repeated before all are used"
    for epoch in epochs:
        sizes = dict(zip(epoch, stream.sizes(epoch), strict=True))
        assert sum(size for index, size in sizes.items() if index < 10) == stream.new.tokens_per_epoch
        assert sum(size for index, size in sizes.items() if index >= 10) == pytest.approx(stream.new.tokens_per_epoch, abs=9)


def test_each_example_once_is_evenly_mixed() -> None:
    stream = mixed(10, 40)
    found = stream.once(10**6)
    assert sorted(found) == list(range(50))
    assert 3 <= sum(index < 10 for index in found[:25]) <= 7
    few = stream.once(stream.new.tokens_per_epoch + 9)
    assert set(range(10)) < set(few)
    assert len(few) < 15


def test_old_examples_may_lie_between_the_new_ones() -> None:
    stream = mixed(10, 20, first=6)
    found = stream.between(0, 4 * stream.tokens_per_epoch)
    assert set(found) == set(range(30))
    assert stream.sizes([5, 6, 25, 26]) == [*stream.new.sizes([5]), *stream.old.sizes([0, 19]), *stream.new.sizes([6])]
