"""Dot products of gradients and their weighted sum; what every balancer refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from manyheads.balance import base, combined, gramian
from manyheads.balance.static import StaticBalancer
from manyheads.errors import UsageError

SHAPES = [(3, 5), (7,), (), (2, 1, 4)]


def gradients(tasks: int, seed: int, missing: float = 0.0) -> list[list[torch.Tensor | None]]:
    draw = torch.Generator().manual_seed(seed)
    return [
        [None if float(torch.rand((), generator=draw)) < missing else torch.randn(s, generator=draw) for s in SHAPES]
        for _ in range(tasks)
    ]


def as_matrix(lists: list[list[torch.Tensor | None]]) -> torch.Tensor:
    """K x P, float64: what the library never builds."""
    return torch.stack(
        [
            torch.cat(
                [torch.zeros(s).flatten() if g is None else g.flatten() for g, s in zip(row, SHAPES, strict=True)]
            )
            for row in lists
        ]
    ).double()


@given(st.integers(1, 5), st.integers(0, 1000), st.sampled_from([0.0, 0.4, 1.0]), st.integers(1, 9))
def test_the_gramian_is_the_matrix_times_its_transpose_whatever_the_chunks_and_gaps(tasks, seed, missing, chunk):
    lists = gradients(tasks, seed, missing)
    matrix_KP = as_matrix(lists)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "CHUNK_CPU", chunk)
        result_KK = gramian(lists)
    assert result_KK.dtype == torch.float64
    torch.testing.assert_close(result_KK, matrix_KP @ matrix_KP.T, rtol=1e-5, atol=1e-5)
    assert torch.equal(result_KK, result_KK.T)


class OtherProcessor(TorchFunctionMode):
    """Rounds the triangle above the diagonal of every product of two matrices one step up."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in (torch.Tensor.matmul, torch.Tensor.__matmul__, torch.matmul, torch.mm):
            with torch._C.DisableTorchFunction():
                up = torch.nextafter(result, torch.full_like(result, torch.inf))
                return torch.where(torch.ones_like(result).triu(1).bool(), up, result)
        return result


@given(st.integers(2, 5), st.integers(0, 1000), st.integers(1, 9))
def test_the_gramian_is_symmetric_to_the_bit_where_a_processor_rounds_the_triangles_differently(tasks, seed, chunk):
    lists = gradients(tasks, seed)
    with pytest.MonkeyPatch.context() as patch, OtherProcessor():
        patch.setattr(base, "CHUNK_CPU", chunk)
        product_KK = torch.ones(2, 2) @ torch.ones(2, 2)
        result_KK = gramian(lists)
    assert not torch.equal(product_KK, product_KK.T)
    assert torch.equal(result_KK, result_KK.T)
    torch.testing.assert_close(result_KK, gramian(lists), rtol=1e-5, atol=1e-5)


@given(st.integers(1, 5), st.integers(0, 1000), st.sampled_from([0.0, 0.4, 1.0]))
def test_the_sum_is_the_weights_times_the_matrix_and_takes_no_new_memory(tasks, seed, missing):
    lists = gradients(tasks, seed, missing)
    matrix_KP = as_matrix(lists)
    weights_K = torch.randn(tasks, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    firsts = [next((g for g in column if g is not None), None) for column in zip(*lists, strict=True)]
    sums = combined(lists, weights_K)
    assert all(total is first for total, first in zip(sums, firsts, strict=True))
    torch.testing.assert_close(as_matrix([sums])[0], weights_K @ matrix_KP, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threads", [2, 3])
def test_dot_products_and_sums_do_not_depend_on_threads_beyond_rounding(threads):
    def both(count):
        draw = torch.Generator().manual_seed(0)
        lists = [[torch.randn(301, 401, generator=draw), torch.randn(7, generator=draw)] for _ in range(3)]
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            return gramian(lists), combined(lists, torch.tensor([0.5, -2.0, 1.0]))
        finally:
            torch.set_num_threads(before)

    (one_KK, sums), (other_KK, others) = both(1), both(threads)
    torch.testing.assert_close(other_KK, one_KK, rtol=1e-6, atol=1e-2)  # of 120,000 terms
    torch.testing.assert_close(others, sums, rtol=1e-6, atol=1e-6)


def test_large_sums_keep_their_digits():
    ones = torch.full((3_000_000,), 1.0)
    ones[0] = 3000.0
    assert float(gramian([[ones]])[0, 0]) == pytest.approx(9e6 + 2_999_999, rel=1e-7)


def test_half_precision_gradients_are_multiplied_in_float32():
    gradient = torch.full((100,), 300.0, dtype=torch.float16)  # 90000 is beyond float16
    assert float(gramian([[gradient]])[0, 0]) == pytest.approx(9e6)


def test_gradients_that_require_grad_are_read_without_a_graph():
    assert not gramian([[torch.ones(3, requires_grad=True)]]).requires_grad


def test_nothing_gives_nothing():
    assert gramian([]).shape == (0, 0)
    assert combined([], torch.zeros(0)) == []
    assert torch.equal(gramian([[None], [None]]), torch.zeros(2, 2, dtype=torch.float64))


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        gramian([[torch.ones(1)], []])
    with pytest.raises(ValueError, match="2 gradients need as many weights, seen 1"):
        combined([[torch.ones(1)], [torch.ones(1)]], torch.ones(1))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 0, "b": 0}, r"the weights of all tasks are 0 \(a, b\); give one more than 0"),
        ({}, "no task"),
        ({"a": 1, "b": -1}, "the weight of b is -1; give a number of at least 0"),
        ({"a": float("nan")}, "the weight of a is nan"),
        ({"a": float("inf")}, "the weight of a is inf"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, message):
    with pytest.raises(UsageError, match=message):
        StaticBalancer(weights)


def test_a_loss_method_says_that_it_combines_no_gradients():
    with pytest.raises(NotImplementedError, match="StaticBalancer balances losses"):
        StaticBalancer({"a": 1}).combine(0, torch.ones(1, 1), ["a"])
