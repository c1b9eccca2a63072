"""FAMO: the slower task gains; on one fixed batch it is the paper's algorithm."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from manyheads.balance.famo import FamoBalancer


def weights(balancer: FamoBalancer) -> dict[str, float]:
    return {task: float(weight) for task, weight in balancer.weights(0, balancer.tasks).items()}


def test_the_task_that_falls_more_slowly_gains():
    balancer = FamoBalancer({"fast": 1, "slow": 1})
    for step in range(100):
        balancer.observe_after(step, {"fast": 1.0, "slow": 1.0}, {"fast": 0.9, "slow": 0.99})
    balancer.observe(100, {"fast": 1.0, "slow": 1.0})
    used = weights(balancer)
    assert used["slow"] > 1.2 > 1 > used["fast"]
    assert sum(used.values()) == pytest.approx(2)


def test_weights_are_inverse_to_the_losses_last_seen():
    balancer = FamoBalancer({"a": 1, "b": 1})
    balancer.observe(0, {"a": 0.5, "b": 1.5})
    assert weights(balancer) == pytest.approx({"a": 1.5, "b": 0.5})


def test_on_one_fixed_batch_weights_follow_the_papers_algorithm_written_with_autograd():
    losses_at = [torch.tensor([2.0, 0.5, 1.0]) * torch.exp(-torch.tensor([0.3, 0.01, 0.1]) * t) for t in range(40)]
    names = ["a", "b", "c"]
    logits_K = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits_K], lr=0.025, weight_decay=0.01)
    balancer = FamoBalancer(dict.fromkeys(names, 1.0))
    for step, (before_K, after_K) in enumerate(pairwise(losses_at)):
        before, after = (dict(zip(names, each.tolist(), strict=True)) for each in (before_K, after_K))
        balancer.observe(step, before)
        balancer.observe_after(step, before, after)
        optimizer.zero_grad()
        torch.softmax(logits_K, 0).backward(before_K.log() - after_K.log())
        optimizer.step()
        expected_K = torch.softmax(logits_K.detach(), 0) / after_K
        expected_K = 3 * expected_K / expected_K.sum()
        assert list(weights(balancer).values()) == pytest.approx(expected_K.tolist(), rel=1e-4)


def test_two_quadratics_fall_at_one_relative_speed_where_static_weights_do_not():
    curvature = {"steep": 5.0, "flat": 0.1}

    def final(balanced: bool) -> dict[str, float]:
        balancer, x = FamoBalancer(dict.fromkeys(curvature, 1.0)), dict.fromkeys(curvature, 1.0)
        for step in range(400):
            before = {task: curvature[task] * x[task] ** 2 / 2 for task in x}
            used = weights(balancer) if balanced else dict.fromkeys(x, 1.0)
            x = {task: x[task] * (1 - 0.01 * used[task] * curvature[task]) for task in x}
            after = {task: curvature[task] * x[task] ** 2 / 2 for task in x}
            balancer.observe(step, before)
            balancer.observe_after(step, before, after)
        return x

    static, balanced = final(balanced=False), final(balanced=True)
    assert static["flat"] > 0.6
    assert balanced["flat"] < 0.7 * static["flat"]


def test_one_task_alone_is_compared_with_nobody():
    balancer = FamoBalancer({"a": 1, "b": 1})
    balancer.observe_after(0, {"a": 1.0}, {"a": 0.1})
    assert balancer.state()["logits"] == {"a": 0, "b": 0}
