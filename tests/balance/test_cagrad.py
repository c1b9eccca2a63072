"""CAGrad: its definition as an optimum, and TorchJD's answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyheads.balance.cagrad import CAGradBalancer, worst_combination


def random_matrix(tasks: int, seed: int) -> torch.Tensor:
    matrix_KP = torch.randn(tasks, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrix_KP[0] *= 1 + 5 * (seed % 3)
    return matrix_KP


@pytest.mark.parametrize("tasks", range(2, 7))
@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_steps_equal_those_of_torchjd(tasks, c):
    aggregation = pytest.importorskip("torchjd.aggregation")
    pytest.importorskip("cvxpy")
    names = [f"task{i}" for i in range(tasks)]
    for seed in range(6):
        matrix_KP = random_matrix(tasks, seed)
        balancer = CAGradBalancer(dict.fromkeys(names, 1.0), c=c)
        step_P = balancer.combine(0, matrix_KP @ matrix_KP.T, names) @ matrix_KP
        expected_P = aggregation.CAGrad(c=c)(matrix_KP) * tasks / (1 + c)
        assert float((step_P - expected_P).norm() / expected_P.norm()) < 1e-3


@pytest.mark.parametrize("seed", range(10))
def test_the_combination_found_is_the_least_of_the_simplex(seed):
    matrix_KP = random_matrix(4, seed).numpy()
    gram_KK = matrix_KP @ matrix_KP.T
    mean_K, radius = gram_KK.mean(1), 0.5 * float(np.sqrt(gram_KK.mean()))

    def value(w_K: np.ndarray) -> float:
        return float(w_K @ mean_K + radius * np.sqrt(w_K @ gram_KK @ w_K))

    found_K = worst_combination(gram_KK, mean_K, radius)
    assert found_K.sum() == pytest.approx(1)
    assert found_K.min() >= 0
    others = np.random.default_rng(seed).dirichlet([0.5] * 4, 2000)
    near = 0.99 * found_K + 0.01 * others
    assert all(value(found_K) <= value(w_K) + 1e-6 * abs(value(found_K)) for w_K in [*others, *near])


def test_the_worst_served_task_fares_better_than_under_the_mean():
    matrix_KP = torch.tensor([[4.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    gram_KK = matrix_KP @ matrix_KP.T
    worst = []
    for c in (0.0, 0.5, 0.9):
        step_P = CAGradBalancer({"a": 1, "b": 1}, c=c).combine(0, gram_KK, ["a", "b"]) @ matrix_KP
        worst.append(float((matrix_KP @ step_P).min()) * (1 + c))
    assert worst[0] < worst[1] < worst[2]


def test_without_a_radius_the_step_is_the_static_one():
    gram_KK = torch.tensor([[1.0, -0.9], [-0.9, 4.0]], dtype=torch.float64)
    assert CAGradBalancer({"a": 1, "b": 2}, c=0).combine(0, gram_KK, ["a", "b"]).tolist() == pytest.approx([1, 2])
