"""What losses are divided by."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from manyheads.tasks.base import Loss
from manyheads.training.losses import Normaliser
from plans import by_hand, stepped, still

LOSS = Loss(torch.tensor(0.5), 3, 4.0)


def test_log_classes_is_the_loss_as_the_task_gives_it() -> None:
    normaliser = Normaliser("log-classes")
    assert float(normaliser.scaled("a", LOSS)) == 0.5
    assert normaliser.observe({"a": 0.5}) == {"a": 1.0}
    assert float(normaliser.scaled("a", LOSS)) == 0.5


def test_none_is_the_plain_loss() -> None:
    assert float(Normaliser("none").scaled("a", LOSS)) == 2.0


def test_initial_loss_divides_by_the_first_finite_loss_of_each_task() -> None:
    normaliser = Normaliser("initial-loss")
    assert float(normaliser.scaled("a", LOSS)) == 0.5
    assert normaliser.observe({"a": float("nan"), "b": 0.0}) == {"a": 1.0, "b": 1.0}
    assert normaliser.observe({"a": 0.25}) == {"a": 4.0}, "in the units of the next step it is 1"
    assert normaliser.observe({"a": 0.1, "b": 2.0}) == {"a": 1.0, "b": 0.5}
    assert float(normaliser.scaled("a", LOSS)) == 2.0
    assert float(normaliser.scaled("b", LOSS)) == 0.25


def test_initial_losses_start_at_1_in_the_record(project: Path) -> None:
    made = still(project, "training.balancing={method: static, normalize: initial-loss}")
    _, first = by_hand(made)
    record = stepped(made)[1]
    assert record.losses == pytest.approx(dict.fromkeys(first, 1.0))
    _, second = by_hand(made, 1)
    assert stepped(made, 1)[1].losses == pytest.approx({name: second[name] / first[name] for name in second}, rel=1e-4)


def test_plain_losses_are_the_normalised_ones_times_those_of_an_uninformed_head(project: Path) -> None:
    made = still(project, "training.balancing={method: static, normalize: none}")
    _, normalised = by_hand(made)
    losses = stepped(made)[1].losses
    ratio = {name: losses[name] / normalised[name] for name in losses}
    log = torch.log
    assert ratio["entities"] == pytest.approx(float(log(torch.tensor(5.0))), rel=1e-4)  # O, and B- and I- of two labels
    assert ratio["section"] == pytest.approx(float(log(torch.tensor(3.0))), rel=1e-4)
    assert ratio["similarity"] == pytest.approx(1.0, rel=1e-4)
    assert ratio["answers"] > 1
