"""PCGrad from the Gramian against the paper's algorithm on whole gradients, and against TorchJD."""

from __future__ import annotations

import pytest
import torch

from manyheads.balance.pcgrad import PCGradBalancer


def random_matrix(tasks: int, seed: int) -> torch.Tensor:
    return torch.randn(tasks, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(10))
def test_of_two_conflicting_tasks_neither_is_worked_against(seed):
    matrix_KP = random_matrix(2, seed)
    matrix_KP[1] -= 2 * matrix_KP[0]
    step_P = PCGradBalancer({"a": 1, "b": 1}, seed=0).combine(0, matrix_KP @ matrix_KP.T, ["a", "b"]) @ matrix_KP
    assert float(matrix_KP[0] @ matrix_KP[1]) < 0
    assert (matrix_KP @ step_P).min() >= -1e-9


def test_tasks_that_do_not_conflict_are_left_as_they_are():
    gram_KK = torch.tensor([[1.0, 0.0, 0.2], [0.0, 4.0, 0.5], [0.2, 0.5, 1.0]], dtype=torch.float64)
    balancer = PCGradBalancer({"a": 1, "b": 0.5, "c": 2}, seed=0)
    assert balancer.combine(0, gram_KK, ["a", "b", "c"]).tolist() == [1, 0.5, 2]


@pytest.mark.parametrize("tasks", range(2, 7))
@pytest.mark.parametrize("seed", range(4))
def test_steps_equal_those_of_the_algorithm_on_whole_gradients(tasks, seed):
    names = [f"task{i}" for i in range(tasks)]
    static_K = torch.linspace(0.5, 2, tasks, dtype=torch.float64)
    balancer = PCGradBalancer(dict(zip(names, static_K.tolist(), strict=True)), seed=seed)
    matrix_KP = random_matrix(tasks, seed)
    scaled_KP = static_K[:, None] * matrix_KP
    total_P = torch.zeros(7, dtype=torch.float64)
    for i, others in enumerate(balancer.order(5, names)):
        projected_P = scaled_KP[i].clone()
        for j in others:
            dot = projected_P @ scaled_KP[j]
            if dot < 0:
                projected_P = projected_P - dot / (scaled_KP[j] @ scaled_KP[j]) * scaled_KP[j]
        total_P += projected_P
    step_P = balancer.combine(5, matrix_KP @ matrix_KP.T, names) @ matrix_KP
    torch.testing.assert_close(step_P, total_P)


@pytest.mark.parametrize("tasks", range(2, 7))
def test_steps_equal_those_of_torchjd_in_the_same_order(tasks, monkeypatch):
    aggregation = pytest.importorskip("torchjd.aggregation")
    names = [f"task{i}" for i in range(tasks)]
    balancer = PCGradBalancer(dict.fromkeys(names, 1.0), seed=1)
    for step in range(10):
        matrix_KP = random_matrix(tasks, step)
        orders = iter(balancer.order(step, names))
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randperm", lambda count, orders=orders: torch.tensor(next(orders)))
            expected_P = aggregation.PCGrad()(matrix_KP)
        step_P = balancer.combine(step, matrix_KP @ matrix_KP.T, names) @ matrix_KP
        torch.testing.assert_close(step_P, expected_P)


def test_orders_differ_between_steps_and_do_not_depend_on_absent_tasks():
    names = ["a", "b", "c", "d"]
    balancer = PCGradBalancer(dict.fromkeys(names, 1.0), seed=1)
    assert len({str(balancer.order(step, names)) for step in range(50)}) > 40
    for step in range(20):
        for own, others in zip(names, balancer.order(step, names), strict=True):
            without_d = [names[j] for j in others if names[j] != "d"]
            if own != "d":
                few = balancer.order(step, ["a", "b", "c"])
                assert [names[j] for j in few[names.index(own)]] == without_d
