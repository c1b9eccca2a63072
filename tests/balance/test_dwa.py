"""The dynamic weight average by hand."""

from __future__ import annotations

import math

import pytest

from manyheads.balance.dwa import DwaBalancer


def weights(balancer: DwaBalancer) -> dict[str, float]:
    return {task: float(weight) for task, weight in balancer.weights(0, balancer.tasks).items()}


def test_weights_are_the_softmax_of_the_ratios_of_window_means():
    balancer = DwaBalancer({"a": 1, "b": 1}, temperature=2, window=2)
    for a, b in [(3.0, 1.0), (1.0, 1.0), (1.0, 0.8)]:  # means 2 and 1, then half a window
        balancer.observe(0, {"a": a, "b": b})
    assert weights(balancer) == {"a": 1, "b": 1}
    balancer.observe(3, {"a": 1.0, "b": 1.0})  # ratios 1/2 and 0.9
    a, b = math.exp(0.5 / 2), math.exp(0.9 / 2)
    assert weights(balancer) == pytest.approx({"a": 2 * a / (a + b), "b": 2 * b / (a + b)})


def test_only_the_last_two_windows_count():
    balancer = DwaBalancer({"a": 1, "b": 1}, window=1)
    for a in (100.0, 7.0, 2.0, 1.0):
        balancer.observe(0, {"a": a, "b": 1.0})
    a, b = math.exp(0.5 / 2), math.exp(1 / 2)
    assert weights(balancer)["a"] == pytest.approx(2 * a / (a + b))


def test_a_tasks_windows_count_the_steps_it_took_part_in():
    balancer = DwaBalancer({"a": 1, "b": 1}, window=2)
    for step, loss in enumerate([1.0, 1.0, 0.5, 0.5]):
        balancer.observe(2 * step, {"a": loss})
        balancer.observe(2 * step + 1, {})
    a, b = math.exp(0.5 / 2), math.exp(1 / 2)  # b was never seen: ratio 1
    assert weights(balancer) == pytest.approx({"a": 2 * a / (a + b), "b": 2 * b / (a + b)})


def test_a_loss_that_explodes_does_not_overflow():
    balancer = DwaBalancer({"a": 1, "b": 1}, window=1)
    balancer.observe(0, {"a": 1e-30, "b": 1.0})
    balancer.observe(1, {"a": 1e30, "b": 1.0})
    assert weights(balancer) == {"a": 2, "b": 0}
