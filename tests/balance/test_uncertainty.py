"""Uncertainty: the learned variances are those of the noise."""

from __future__ import annotations

import pytest
import torch

from manyheads.balance.uncertainty import UncertaintyBalancer


def test_variances_converge_to_those_of_the_noise():
    draw = torch.Generator().manual_seed(0)
    noise = {"quiet": 0.3, "loud": 2.0}
    balancer = UncertaintyBalancer(dict.fromkeys(noise, 1.0))
    slope = torch.nn.Parameter(torch.tensor(0.0))
    optimizer = torch.optim.Adam([slope, *balancer.parameters()], lr=balancer.parameters_rate)
    for step in range(1500):
        total = balancer.penalty(list(noise))
        assert total is not None
        weights = balancer.weights(step, list(noise))
        for task, deviation in noise.items():
            x_B = torch.randn(200, generator=draw)
            y_B = 1.7 * x_B + deviation * torch.randn(200, generator=draw)
            total = total + weights[task] * ((y_B - slope * x_B) ** 2).mean() / 2
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    variances = {task: float(v.detach().exp()) for task, v in balancer.log_variance.items()}
    assert variances == pytest.approx({task: deviation**2 for task, deviation in noise.items()}, rel=0.1)
    assert float(slope.detach()) == pytest.approx(1.7, abs=0.05)


def test_a_static_weight_scales_a_tasks_part_but_not_what_is_learned():
    gradients = {}
    for static in (1.0, 3.0):
        balancer = UncertaintyBalancer({"a": static, "b": 1.0})
        balancer.log_variance["a"].data.fill_(0.4)
        penalty = balancer.penalty(["a"])
        assert penalty is not None
        (balancer.weights(0, ["a"])["a"] * 2.0 + penalty).backward()
        assert balancer.log_variance["b"].grad is None
        gradients[static] = float(balancer.log_variance["a"].grad)  # type: ignore[arg-type]
    assert gradients[3.0] == pytest.approx(3 * gradients[1.0])
    balancer = UncertaintyBalancer({"a": 3.0})
    balancer.log_variance["a"].data = torch.tensor(2 * 0.8).log()  # v = log 2L: the least of exp(-v) L + v/2
    penalty = balancer.penalty(["a"])
    assert penalty is not None
    (balancer.weights(0, ["a"])["a"] * 0.8 + penalty).backward()
    assert float(balancer.log_variance["a"].grad) == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]


def test_nobody_present_means_no_penalty():
    assert UncertaintyBalancer({"a": 1.0}).penalty([]) is None


def test_two_micro_packs_give_the_gradient_of_one():
    gradients = []
    for parts in ([1.0], [0.25, 0.75]):
        balancer = UncertaintyBalancer({"a": 2.0})
        for part in parts:
            (balancer.weights(0, ["a"])["a"] * part * 0.9).backward()
        gradients.append(float(balancer.log_variance["a"].grad))  # type: ignore[arg-type]
    assert gradients[0] == pytest.approx(gradients[1])
