"""Nash-MTL: its equation, its invariance to scale, and TorchJD's answer where TorchJD's solver is sound."""

from __future__ import annotations

import pytest
import torch

from manyheads.balance.nash_mtl import NashMTLBalancer


def random_matrix(tasks: int, seed: int) -> torch.Tensor:
    return torch.randn(tasks, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights_of(matrix_KP: torch.Tensor) -> torch.Tensor:
    names = [f"task{i}" for i in range(len(matrix_KP))]
    return NashMTLBalancer(dict.fromkeys(names, 1.0)).combine(0, matrix_KP @ matrix_KP.T, names)


@pytest.mark.parametrize("tasks", range(2, 9))
@pytest.mark.parametrize("seed", range(5))
def test_every_task_gains_alike_in_the_bargaining_equation_whatever_the_scales(tasks, seed):
    scale_K = 10.0 ** torch.linspace(-3, 1, tasks, dtype=torch.float64)
    matrix_KP = random_matrix(tasks, seed) * scale_K[:, None]
    weights_K = weights_of(matrix_KP)
    gains_K = weights_K * (matrix_KP @ (weights_K @ matrix_KP))  # a * (G a): 1 for each, up to the common scale
    torch.testing.assert_close(gains_K / gains_K.mean(), torch.ones(tasks, dtype=torch.float64), rtol=1e-5, atol=0)
    assert weights_K.min() > 0
    assert float(weights_K.sum()) == pytest.approx(tasks)


@pytest.mark.filterwarnings("ignore:.*not DPP:UserWarning")
@pytest.mark.parametrize("tasks", range(2, 7))
def test_steps_point_where_torchjd_points_when_its_answer_solves_the_equation(tasks):
    aggregation = pytest.importorskip("torchjd.aggregation")
    pytest.importorskip("ecos")
    solved = 0
    for seed in range(8):
        matrix_KP = torch.nn.functional.normalize(random_matrix(tasks, seed))
        theirs_K = aggregation.NashMTL(n_tasks=tasks, max_norm=0.0).weighting(matrix_KP)
        gains_K = theirs_K * (matrix_KP @ (theirs_K @ matrix_KP))
        if float(gains_K.std() / gains_K.mean()) > 1e-3:  # its solver stopped elsewhere: 2 of these 40 cases
            continue
        solved += 1
        cosine = torch.cosine_similarity(weights_of(matrix_KP) @ matrix_KP, theirs_K @ matrix_KP, 0)
        assert float(cosine) == pytest.approx(1, abs=1e-5)
    assert solved >= 6


def test_two_tasks_get_weights_inverse_to_their_norms():
    matrix_KP = torch.tensor([[3.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    weights_K = weights_of(matrix_KP)
    assert float(weights_K[1] / weights_K[0]) == pytest.approx(3 / 0.5**0.5)


def test_nearly_opposite_gradients_still_leave_everyone_better_off():
    matrix_KP = torch.tensor([[1.0, 0.001], [-5.0, 0.001]], dtype=torch.float64)
    assert (matrix_KP @ (weights_of(matrix_KP) @ matrix_KP)).min() > 0
