"""What gradients say of tasks: against products taken by hand, and on tasks of which the answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.training.gradient_diagnostics import (
    _backward,
    _batches,
    _pair,
    _products,
    _squared_length,
    diagnose,
    groups_of,
)
from manyheads.training.plan import Plan
from manyheads.training.state import state_of, tensors_of
from toys import write_project


@pytest.fixture
def plan(tmp_path: Path, toy_encoder: Path) -> Plan:
    made = build_plan(load_run(write_project(tmp_path, toy_encoder), ["training.steps=8"]))
    made.trainer.prepare(made.phases[0])
    return made


def test_products_are_those_of_the_whole_gradients(plan: Plan) -> None:
    trainer = plan.trainer
    packs = {name: _batches(trainer, name, [0, 1, 2]) for name in ("entities", "section")}
    groups = groups_of(trainer.parts)
    assert [group.name for group in groups] == ["embeddings", "layers 1-2"]
    trainer.model.eval()
    products = _products(trainer, packs, groups)
    vectors = []
    for batches in packs.values():
        for batch in batches:
            _backward(trainer, batch)
            flat = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for g in groups for p in g.parameters]
            vectors.append(torch.cat([value.reshape(-1) for value in flat]))
    expected = torch.stack([torch.stack([a @ b for b in vectors]) for a in vectors]).numpy()
    found = sum(products).reshape(6, 6)
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


def test_diagnosing_leaves_everything_as_it_was(plan: Plan) -> None:
    trainer = plan.trainer
    list(trainer.run(plan.phases[0], 0, 3))
    kept = {
        name: {key: value.clone() for key, value in tensors.items()} for name, tensors in tensors_of(trainer).items()
    }
    state = state_of(trainer)
    found = diagnose(trainer, [0, 1, 2], 1e-3)
    assert set(found) == {"groups", "pairs", "affinity", "pull"}
    assert sum(pull**2 for pull in found["pull"].values()) == pytest.approx(1.0)
    assert len(found["pairs"]) == 6
    assert len(found["affinity"]) == 16
    after = tensors_of(trainer)
    for name, tensors in kept.items():
        assert set(after[name]) == set(tensors)
        assert all(torch.equal(value, after[name][key]) for key, value in tensors.items()), name
    assert state_of(trainer) == state
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_a_step_on_a_task_helps_that_task_most(plan: Plan) -> None:
    found = diagnose(plan.trainer, range(6), 1e-3)["affinity"]
    for name in ("entities", "section"):
        own = found[f"{name}->{name}"]
        assert own > 0
        assert own > max(
            value for key, value in found.items() if key.endswith(f"->{name}") and key != f"{name}->{name}"
        )


def test_the_corrected_cosine_sees_through_the_noise_of_batches() -> None:
    """Two tasks with the same gradient, or the opposite one, under noise three times as long."""
    draw = np.random.default_rng(0)
    for sign in (1.0, -1.0):
        signal = draw.normal(size=2000)
        rows = [[s * signal + 3 * draw.normal(size=2000) for _ in range(40)] for s in (1.0, sign)]
        flat = np.array(rows).reshape(80, -1)
        gram = (flat @ flat.T).reshape(2, 40, 2, 40)
        pair = _pair([gram], 0, 1)
        raw = gram[0, 0, 1, 0] / (gram[0, 0, 0, 0] * gram[1, 0, 1, 0]) ** 0.5
        assert abs(raw) < 0.2
        assert pair["cosine"][0] == pytest.approx(sign, abs=0.1)
        assert pair["magnitude_ratio"][0] == pytest.approx(1.0, abs=0.1)
        assert pair["conflict_rate"][0] == pytest.approx(0.0 if sign > 0 else 1.0, abs=0.01)
    assert _squared_length(np.eye(3)) == 0.0


def test_one_task_has_nothing_to_be_compared_with(plan: Plan) -> None:
    trainer = plan.trainer
    trainer.tasks = {"section": trainer.tasks["section"]}
    assert diagnose(trainer, [0, 1], 1e-3) == {}
    assert replace(plan, notes=()).trainer is trainer
