"""GradNorm on quadratics whose gradients differ in size."""

from __future__ import annotations

import pytest

from manyheads.balance.gradnorm import GradNormBalancer


def weights(balancer: GradNormBalancer) -> dict[str, float]:
    return {task: float(weight) for task, weight in balancer.weights(0, balancer.tasks).items()}


def test_norms_a_hundred_times_apart_become_equal():
    balancer = GradNormBalancer({"a": 1, "b": 1})
    norms = {"a": 10.0, "b": 0.1}
    for step in range(1500):
        balancer.observe_norms(step, norms, {"a": 1.0, "b": 1.0})
    used = weights(balancer)
    assert used["a"] * 10 == pytest.approx(used["b"] * 0.1, rel=0.1)
    assert sum(used.values()) == pytest.approx(2)


def test_two_quadratics_of_different_curvature_fall_together():
    curvature = {"steep": 8.0, "flat": 0.2}

    def loss_ratio(balanced: bool) -> float:
        balancer, x = GradNormBalancer(dict.fromkeys(curvature, 1.0)), dict.fromkeys(curvature, 1.0)
        for step in range(600):
            used = weights(balancer)
            norms = {task: curvature[task] * abs(x[task]) for task in x}
            losses = {task: curvature[task] * x[task] ** 2 / 2 for task in x}
            x = {task: x[task] - 0.005 * used[task] * curvature[task] * x[task] for task in x}
            if balanced:
                balancer.observe_norms(step, norms, losses)
        return (x["flat"] / x["steep"]) ** 2

    assert loss_ratio(balanced=False) > 1e6
    assert loss_ratio(balanced=True) < 100


def test_a_task_that_trains_slowly_pulls_more_by_alpha():
    balancer = GradNormBalancer({"fast": 1, "slow": 1}, alpha=1.5)
    balancer.observe_norms(0, {"fast": 1.0, "slow": 1.0}, {"fast": 1.0, "slow": 1.0})
    for step in range(1, 1500):
        balancer.observe_norms(step, {"fast": 1.0, "slow": 1.0}, {"fast": 0.5, "slow": 0.8})
    used = weights(balancer)
    # at rest: weight / mean = (ratio / mean ratio) ** alpha for one of the two, as they add up to 2
    expected = (0.8 / 0.5) ** 1.5
    assert used["slow"] / used["fast"] == pytest.approx(expected, rel=0.15)


def test_static_weights_set_the_shares_to_pull_with():
    balancer = GradNormBalancer({"a": 3, "b": 1})
    norms = {"a": 5.0, "b": 0.5}
    for step in range(1500):
        balancer.observe_norms(step, norms, {"a": 1.0, "b": 1.0})
    used = weights(balancer)
    assert used["a"] * 5.0 == pytest.approx(3 * used["b"] * 0.5, rel=0.1)


def test_an_absent_task_keeps_its_share_against_those_not_present():
    balancer = GradNormBalancer({"a": 1, "b": 1, "c": 1})
    for step in range(200):
        balancer.observe_norms(step, {"a": 4.0, "b": 1.0}, {"a": 1.0, "b": 1.0})
    used = weights(balancer)
    assert used["a"] * 4 == pytest.approx(used["b"], rel=0.1)
    assert sum(used.values()) == pytest.approx(3)
    alone = GradNormBalancer({"a": 1, "b": 1})
    alone.observe_norms(0, {"a": 4.0}, {"a": 1.0})
    assert weights(alone) == {"a": 1, "b": 1}
