"""Our Adam over named numbers against torch's."""

from __future__ import annotations

import pytest
import torch

from manyheads.balance.adam import Moments, adam_step


def test_steps_equal_those_of_torch_for_each_number_by_itself():
    draw = torch.Generator().manual_seed(0)
    values = {"a": 0.5, "b": -2.0}
    theirs = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}
    optimizers = {name: torch.optim.Adam([tensor], lr=0.03) for name, tensor in theirs.items()}
    moments: Moments = {}
    for step in range(50):
        present = ["a", "b"] if step % 3 else ["b"]
        gradients = {name: float(torch.randn((), generator=draw)) * 10 for name in present}
        adam_step(values, gradients, moments, 0.03)
        for name, gradient in gradients.items():
            theirs[name].grad = torch.tensor(gradient, dtype=torch.float64)
            optimizers[name].step()
        assert values == pytest.approx({name: tensor.item() for name, tensor in theirs.items()}, rel=1e-9)
