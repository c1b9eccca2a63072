"""The sampler: shares that add up, quotas that telescope, a known relation of shares to sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.data.sampler import ConstantSampler, Sampler

SIZES = st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 10**10), min_size=1, max_size=8)


@given(SIZES, st.integers(1, 10**6), st.integers(0, 10**7), st.floats(0, 1), st.floats(1, 1e6))
def test_quotas_add_up_within_a_token_for_each_task_and_never_fall(sizes, tokens_per_step, step, alpha, cap):
    sampler: Sampler = ConstantSampler(sizes, tokens_per_step, alpha=alpha, cap=cap)
    before = {task: sampler.quota(task, step) for task in sizes}
    after = {task: sampler.quota(task, step + 1) for task in sizes}
    assert 0 <= step * tokens_per_step - sum(before.values()) < len(sizes)
    assert all(before[task] <= after[task] for task in sizes)
    assert all(sampler.quota(task, 0) == 0 for task in sizes)
    shares = sampler.draw(step)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(abs(after[task] - before[task] - tokens_per_step * shares[task]) < 1.01 for task in sizes)


def test_a_single_task_gets_every_token():
    sampler = ConstantSampler({"entities": 12}, 4096)
    assert sampler.draw(3) == {"entities": 1.0}
    assert sampler.quota("entities", 10) == 40960


def test_shares_follow_the_square_root_of_size_up_to_the_cap():
    assert ConstantSampler({"a": 900, "b": 100}, 10).draw(0) == {"a": 0.75, "b": 0.25}
    assert ConstantSampler({"a": 900, "b": 100}, 10, alpha=1).draw(0) == {"a": 0.9, "b": 0.1}
    assert ConstantSampler({"a": 900, "b": 100}, 10, alpha=0).draw(0) == {"a": 0.5, "b": 0.5}
    assert ConstantSampler({"a": 10**9, "b": 1}, 10, cap=4).draw(0) == {"a": 0.8, "b": 0.2}
    assert ConstantSampler({"a": 1, "b": 1}, 10, fixed={"b": 3, "a": 1}).draw(0) == {"a": 0.25, "b": 0.75}


def test_the_smallest_share_still_trains():
    sampler = ConstantSampler({"a": 10**10, "b": 1}, 4096, alpha=1, cap=1e12)
    assert sampler.draw(0) == {"a": 0.999999, "b": 0.000001}
    assert sampler.quota("b", 1000) == 4


@pytest.mark.parametrize(
    ("tokens", "settings"),
    [
        ({}, {}),
        ({"a": 0}, {}),
        ({"a": 1}, {"cap": 0.5}),
        ({"a": 1, "b": 1}, {"fixed": {"a": 1}}),
        ({"a": 1}, {"fixed": {"a": 0}}),
    ],
)
def test_impossible_settings_are_refused(tokens, settings):
    with pytest.raises(ValueError, match=r"a sampler needs tasks|fixed shares must be above 0"):
        ConstantSampler(tokens, 10, **settings)
