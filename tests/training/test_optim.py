"""The optimizer's groups: what decays, and at which rate each part learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from manyheads.training.optim import BALANCING, adamw, parameter_groups, set_rates
from manyheads.training.parts import Part
from plans import plan, stepped


def part(name: str, *modules: nn.Module) -> Part:
    return Part(name, "layer", 0, (), modules, tuple(p for module in modules for p in module.parameters()))


def test_biases_and_norms_do_not_decay() -> None:
    one = part("one", nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Embedding(3, 4)))
    decayed, free = parameter_groups([one], 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 4), (3, 4)]
    assert decayed["weight_decay"] == 0.1
    assert len(free["params"]) == 3
    assert free["weight_decay"] == 0.0
    assert decayed["part"] == free["part"] == "one"


def test_every_parameter_of_a_model_is_in_one_group(project: Path) -> None:
    made = plan(project, "sharing.shared_layers=1", "training.balancing=uncertainty", "training.weight_decay=0.2")
    groups = made.trainer.components.optimizer.param_groups
    found = [id(p) for group in groups for p in group["params"] if group["part"] != BALANCING]
    assert sorted(found) == sorted(id(p) for p in made.model.parameters())
    names = {id(p): name for name, p in made.model.named_parameters()}
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed
    assert not [name for name in decayed if name.endswith("bias") or "LayerNorm" in name]
    [learned] = [group for group in groups if group["part"] == BALANCING]
    assert learned["weight_decay"] == 0.0


def test_one_step_equals_torch_adamw_on_each_group() -> None:
    torch.manual_seed(0)
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    two.load_state_dict(one.state_dict())
    ours = adamw(parameter_groups([part("one", one)], 0.5))
    set_rates(ours, {"one": 0.1})
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


def test_each_part_learns_at_its_own_rate(project: Path) -> None:
    options = ("training.learning_rate=1e-4", "training.head_learning_rate=1e-2", "training.layer_decay=0.5",
               "training.warmup=0.5", "tasks.section.learning_rate_factor=3", "sharing.shared_layers=1")  # fmt: skip
    made = plan(project, *options)
    record = stepped(made, 2)[1]
    rates = {group["part"]: group["lr"] for group in made.trainer.components.optimizer.param_groups}
    half = 3 / 6  # of a warmup of six steps
    expected = {"embeddings": 0.25e-4, "layer 0": 0.5e-4, "entities: layer 1": 1e-4, "section: layer 1": 3e-4,
                "answers: layer 1": 1e-4, "similarity: layer 1": 1e-4, "head entities": 1e-2, "head section": 3e-2,
                "head answers": 1e-2, "head similarity": 1e-2}  # fmt: skip
    assert rates == pytest.approx({name: rate * half for name, rate in expected.items()})
    assert record.rate == pytest.approx(1e-4 * half)
