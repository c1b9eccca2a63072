"""The anchor: distance from the untrained encoder, in the losses of a step and over the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from manyheads.nn.pooling import mean_pool
from manyheads.training.anchor import Anchor
from manyheads.training.phases import enter
from plans import plan, stepped, still, weights
from runs import went


def test_the_untrained_encoder_is_at_no_distance_from_itself_and_another_is(project: Path) -> None:
    made = still(project, "training.anchor=0.5")
    anchor = made.trainer.gradients.objective.anchor
    assert anchor is not None
    [batch] = made.trainer.batcher.batch(0)
    made.model.eval()
    with torch.no_grad():
        pooled = mean_pool(made.model.encoder(batch.pack), batch.pack.segments)
        assert float(anchor.loss(pooled, batch.pack)) == pytest.approx(0.0, abs=1e-5)
        assert float(anchor.loss(-pooled, batch.pack)) == pytest.approx(2.0, abs=1e-5)
        assert torch.allclose(anchor.references(batch.pack), pooled, atol=1e-2)  # half precision
        assert torch.equal(anchor.references(batch.pack), anchor.references(batch.pack))


def test_references_do_not_move_with_the_training(project: Path) -> None:
    made = plan(project, "training.anchor=0.5")
    anchor = made.trainer.gradients.objective.anchor
    assert anchor is not None
    before = weights(anchor.encoder)
    went(made)
    assert all(torch.equal(before[name], value) for name, value in weights(anchor.encoder).items())


def test_the_weight_falls_to_nothing_over_the_run(project: Path) -> None:
    anchor = Anchor(plan(project).model.encoder, 0.4, 10)
    assert [anchor.weight_at(step) for step in (0, 5, 10, 11)] == pytest.approx([0.4, 0.2, 0.0, 0.0])


def test_it_ends_when_every_known_task_is_far_above_the_untrained_encoder(project: Path) -> None:
    anchor = Anchor(plan(project).model.encoder, 0.4, 10, ["one", "two"])
    assert not anchor.observe({"one": 0.5, "two": 0.6, "other": 0.0}, 0)
    assert not anchor.observe({"one": 0.56, "two": 0.64, "other": 0.9}, 2)
    assert anchor.weight_at(2) == pytest.approx(0.32)
    assert anchor.observe({"one": 0.56, "two": 0.66, "other": 0.9}, 4)
    assert (anchor.weight_at(3), anchor.weight_at(4)) == (pytest.approx(0.28), 0.0)
    again = Anchor(anchor.encoder, 0.4, 10, ["one", "two"])
    again.load_state(json.loads(json.dumps(anchor.state())))
    assert again.state() == anchor.state()
    assert not again.observe({"one": 0.1, "two": 0.1}, 6), "once and for all"
    assert again.weight_at(6) == 0.0


def test_without_a_score_of_the_untrained_encoder_it_stays(project: Path) -> None:
    anchor = Anchor(plan(project).model.encoder, 0.4, 10, ["one"])
    assert not anchor.observe({"one": 0.9}, 5)
    assert anchor.weight_at(5) == pytest.approx(0.2)


@pytest.mark.parametrize("method", ["static", "equal-norm", "pcgrad"])
def test_a_step_adds_the_distance_to_each_tasks_loss(project: Path, method: str) -> None:
    """After a first step the encoder has moved, and only then the anchor pulls."""
    plain, held = (still(project, f"training.balancing={method}", f"training.anchor={weight}") for weight in (0.0, 1.0))
    first = [stepped(made)[1] for made in (plain, held)]
    assert first[1].losses == pytest.approx(first[0].losses, abs=1e-5)
    for made in (plain, held):
        enter(made.phases[0], made.model, made.trainer.parts)
    again = [stepped(made, 1)[1] for made in (plain, held)]
    assert all(again[1].losses[name] > again[0].losses[name] for name in again[0].losses)


@pytest.mark.long
def test_a_held_encoder_stays_nearer(project: Path) -> None:
    distances = []
    for weight in (0.0, 20.0):
        made = plan(project, f"training.anchor={weight}", "training.steps=20", f"output=runs/{weight}")
        reference = Anchor(made.model.encoder, 1.0, 1)
        went(made)
        [batch] = made.trainer.batcher.batch(0)
        made.model.eval()
        with torch.no_grad():
            pooled = mean_pool(made.model.encoder(batch.pack), batch.pack.segments)
            distances.append(float(reference.loss(pooled, batch.pack)))
    assert distances[1] < distances[0]
