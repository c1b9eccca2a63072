"""Methods through TorchJD: on Gramians as TorchJD's own aggregators on whole gradients, and answers known otherwise."""

from __future__ import annotations

import pytest
import torch

from manyheads.balance import build_balancer

aggregation = pytest.importorskip("torchjd.aggregation")
pytest.importorskip("quadprog")


def random_matrix(tasks: int, seed: int) -> torch.Tensor:
    matrix_KP = torch.randn(tasks, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrix_KP[0] *= 1 + 5 * (seed % 3)
    return matrix_KP


def step_of(method: str, matrix_KP: torch.Tensor, static: list[float] | None = None) -> torch.Tensor:
    names = [f"task{i}" for i in range(len(matrix_KP))]
    weights = dict(zip(names, static or [1.0] * len(names), strict=True))
    return build_balancer(method, weights, 0, {}).combine(0, matrix_KP @ matrix_KP.T, names) @ matrix_KP


@pytest.mark.parametrize("tasks", range(2, 7))
@pytest.mark.parametrize(
    ("method", "theirs"), [("upgrad", "UPGrad"), ("mgda", "MGDA"), ("imtl-g", "IMTLG"), ("aligned-mtl", "AlignedMTL")]
)
def test_steps_equal_those_of_the_aggregator_on_whole_gradients(method, theirs, tasks):
    for seed in range(6):
        matrix_KP = random_matrix(tasks, seed)
        expected_P = tasks * getattr(aggregation, theirs)()(matrix_KP)
        torch.testing.assert_close(step_of(method, matrix_KP), expected_P, rtol=1e-6, atol=1e-8)
        static = torch.linspace(0.5, 1.5, tasks, dtype=torch.float64)
        expected_P = tasks * getattr(aggregation, theirs)()(static[:, None] * matrix_KP)
        torch.testing.assert_close(step_of(method, matrix_KP, static.tolist()), expected_P, rtol=1e-6, atol=1e-8)


def test_mgda_finds_the_shortest_combination():
    matrix_KP = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(step_of("mgda", matrix_KP), 2 * torch.tensor([0.4, 0.8]).double())  # 1/5, 4/5
    nested_KP = torch.tensor([[1.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(step_of("mgda", nested_KP), 2 * nested_KP[0])


def test_imtl_g_projects_equally_on_every_gradient():
    matrix_KP = random_matrix(4, 1)
    along_K = (matrix_KP @ step_of("imtl-g", matrix_KP)) / matrix_KP.norm(dim=1)
    torch.testing.assert_close(along_K, along_K[:1].expand(4))


@pytest.mark.parametrize("seed", range(8))
def test_upgrad_works_against_nobody(seed):
    matrix_KP = random_matrix(3, seed)
    matrix_KP[1] -= matrix_KP[0]
    step_P = step_of("upgrad", matrix_KP)
    assert float((matrix_KP @ step_P / matrix_KP.norm(dim=1) / step_P.norm()).min()) > -1e-2  # solver's ridge: 1e-4


def test_aligned_mtl_makes_orthogonal_gradients_equally_long():
    matrix_KP = torch.tensor([[5.0, 0.0], [0.0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(step_of("aligned-mtl", matrix_KP), torch.tensor([0.5, 0.5]).double())
