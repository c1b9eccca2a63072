"""Random weights."""

from __future__ import annotations

import pytest
import torch

from manyheads.balance.random import RandomBalancer


def test_weights_average_to_the_static_ones_and_add_up_at_every_step():
    balancer = RandomBalancer({"a": 1, "b": 1, "c": 1}, seed=3)
    drawn_SK = torch.tensor([[float(w) for w in balancer.weights(s, balancer.tasks).values()] for s in range(4000)])
    assert drawn_SK.mean(0).tolist() == pytest.approx([1, 1, 1], abs=0.05)
    assert drawn_SK.sum(1).tolist() == pytest.approx([3] * 4000)
    assert float(drawn_SK.std()) > 0.3


def test_static_weights_multiply():
    one, two = (RandomBalancer({"a": weight, "b": 1}, seed=3).weights(9, ["a", "b"]) for weight in (1, 2))
    assert float(two["a"]) == pytest.approx(2 * float(one["a"]))
    assert float(two["b"]) == float(one["b"])


def test_a_step_always_draws_the_same_for_a_seed_whoever_is_present():
    first, second, other = (RandomBalancer({"a": 1, "b": 1}, seed=seed) for seed in (3, 3, 4))
    second.weights(0, ["a"])
    assert first.weights(5, ["a", "b"])["b"] == second.weights(5, ["b"])["b"]
    assert first.weights(5, ["a"])["a"] != other.weights(5, ["a"])["a"]
    assert first.weights(5, ["a"])["a"] != first.weights(6, ["a"])["a"]
