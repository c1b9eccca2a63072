"""The mean of a run's last weights: a candidate like any other, and the same one however often a run is stopped."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import manyheads.training.log as log_module
import manyheads.training.run as run_module
from manyheads.errors import StoppedError
from manyheads.training.averaging import SAMPLES, Average
from manyheads.training.checkpoint import Checkpoints
from manyheads.training.evaluation import Evaluation, predictor_of
from manyheads.training.plan import Trained
from manyheads.training.session import TrainingSession
from manyheads.training.stop import Stop
from plans import plan, weights
from runs import Watch, assert_same, history, outcome, run_training, went

BASE = ("training.steps=6", "training.evaluate_every=3", "training.save_every=0", "training.average=0.5")


@pytest.mark.parametrize(("share", "steps", "expected"), [
    (0.25, 8, [7, 8]), (0.25, 10, [8, 9, 10]), (0.5, 1, [1]), (0.0, 4, []), (0.99, 3, [1, 2, 3]),
])  # fmt: skip
def test_the_mean_is_that_of_the_weights_of_the_last_steps(share: float, steps: int, expected: list[int]) -> None:
    parameter = nn.Parameter(torch.zeros(3))
    average = Average([parameter], share, steps)
    for step in range(1, steps + 1):
        parameter.data = torch.full((3,), float(step) ** 2)
        average.add(step)
    assert average.count == len(expected)
    if expected:
        mean = sum(step**2 for step in expected) / len(expected)
        assert torch.allclose(average.mean[0], torch.full((3,), mean))


def test_of_a_long_run_some_steps_are_sampled_evenly_and_the_last_is_one_of_them() -> None:
    parameter, steps = nn.Parameter(torch.zeros(1)), 10_000
    average, sampled = Average([parameter], 0.25, steps), []
    for step in range(1, steps + 1):
        before = average.count
        average.add(step)
        if average.count > before:
            sampled.append(step)
    assert SAMPLES <= len(sampled) < 2 * SAMPLES
    assert (min(sampled) > 7500, sampled[-1]) == (True, steps)
    assert len({b - a for a, b in pairwise(sampled)}) == 1


def test_a_run_that_is_stopped_on_the_way_ends_with_the_mean_of_one_that_is_not(project: Path) -> None:
    made = plan(project, *BASE, "output=runs/whole")
    went(made)
    for i, after in enumerate((2, 4, 5)):
        stop = Stop()
        with pytest.raises(StoppedError):
            run_training(plan(project, *BASE), Watch(stop=stop, after=after), resume=i > 0, stop=stop)
    again = plan(project, *BASE)
    went(again, resume=True)
    assert_same(outcome(again), outcome(made))
    row = next(row for row in history(made.output) if "averaged" in row)
    assert row["averaged"] == 3
    assert set(row["average"]) == set(made.validation)  # type: ignore[call-overload]


@pytest.mark.parametrize("better", [True, False])
def test_the_mean_is_taken_if_it_is_better_on_validation_data_and_only_then(project: Path, better: bool) -> None:
    made = plan(project, *BASE)
    seen: list[dict[str, torch.Tensor]] = []

    class Judged(TrainingSession):
        def _evaluate(self) -> Evaluation:
            mean = bool(self.state.average.count) and self.position.step == 6 and not self.position.due
            seen.append(weights(self.plan.model))
            return Evaluation({}, {}, (0.9 if better else 0.1) if mean else 0.5)

    session = Judged(made, log_module.Unlogged(), Watch())
    session.run()
    assert len(seen) == 3, "two evaluations, and that of the mean"
    kept = seen[2] if better else seen[1]
    assert all(torch.equal(value, kept[name]) for name, value in weights(made.model).items())
    assert (session.state.averaged, session.best_step) == (better, 6)
    assert any(not torch.equal(value, seen[1][name]) for name, value in seen[2].items()), "the mean is no single step"


@pytest.mark.parametrize("averaged", [True, False])
def test_a_run_again_on_all_rows_is_averaged_only_if_the_first_one_ended_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, averaged: bool
) -> None:
    made, seen = plan(project, *BASE), []
    monkeypatch.setattr(run_module, "_train", lambda again, *_, **__: seen.append(again.average))
    done = Trained({}, {}, {}, predictor_of(made, Stop()), 6, None, averaged)
    whole = replace(made, refit=lambda share: replace(made, until=round(6 * share)))
    run_module._refit(whole, done, Watch(), Checkpoints(made.output, 1), Stop())
    assert seen == [0.5 if averaged else 0.0]


def test_without_validation_data_the_model_ends_with_the_mean(project: Path) -> None:
    made = replace(plan(project, *BASE, "output=runs/bare"), validation={})
    session = TrainingSession(made, log_module.Unlogged(), Watch())
    means = []
    clear = session.state.average.clear
    session.state.average.clear = lambda: (means.extend(session.state.average.mean), clear())[1]  # type: ignore[method-assign]
    session.run()
    trained = [dict(made.model.named_parameters())[name] for name in session.state.best.parameters]
    assert all(torch.equal(*pair) for pair in zip(means, trained, strict=True))
    assert session.state.averaged


def test_adapters_are_averaged_and_what_is_frozen_stays(project: Path) -> None:
    made = plan(project, *BASE, "lora.rank=2", "output=runs/lora")
    before = weights(made.model)
    session = TrainingSession(replace(made, validation={}), log_module.Unlogged(), Watch())
    assert {name for name in session.state.best.parameters if "lora" in name}
    session.run()
    moved = {name for name, value in weights(made.model).items() if not torch.equal(value, before[name])}
    assert moved <= set(session.state.best.parameters)


def test_a_stop_while_the_mean_is_tried_leaves_it_to_be_tried_again(project: Path) -> None:
    session = TrainingSession(plan(project, *BASE), log_module.Unlogged(), Watch())
    evaluate = session._evaluate
    session._evaluate = lambda: None if session.state.average.count and not session.position.due else evaluate()  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        session.run()
    assert session.state.average.count == 3, "it is still to be tried"
    assert not session.state.averaged
