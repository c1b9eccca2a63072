"""Groups and schedule of the optimizer."""

import pytest
import torch
from torch import nn

from manyheads.training.optim import adamw, linear_schedule, parameter_groups


def test_biases_and_norms_do_not_decay_and_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    decayed, free = parameter_groups(model, 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 4)]
    assert decayed["weight_decay"] == 0.1
    assert len(free["params"]) == 4
    assert free["weight_decay"] == 0.0


def test_one_step_equals_torch_adamw_on_each_group() -> None:
    torch.manual_seed(0)
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    two.load_state_dict(one.state_dict())
    ours = adamw(one, rate=0.1, weight_decay=0.5)
    theirs = [
        torch.optim.AdamW([two.weight], lr=0.1, weight_decay=0.5),
        torch.optim.AdamW([two.bias], lr=0.1, weight_decay=0),
    ]
    for model in (one, two):
        model(torch.ones(1, 3)).square().sum().backward()
    for optimizer in [ours, *theirs]:
        optimizer.step()
    assert torch.allclose(one.weight, two.weight)
    assert torch.allclose(one.bias, two.bias)


def test_the_schedule_is_that_of_transformers() -> None:
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=5, num_training_steps=20)
    ours = linear_schedule(1.0, 20, 5)
    for step in range(5, 20):  # while warming up theirs starts at a rate of 0, ours at the first step's share
        while theirs.last_epoch < step:
            optimizer.step()
            theirs.step()
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0])
    assert [ours(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert ours(20) == 0.0
