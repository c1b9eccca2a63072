"""Steps of equal norms, and the pulls of tasks, against gradients worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.start import train_run
from manyheads.training.gradients.norms import pulls
from manyheads.training.plan import Plan
from manyheads.training.progress import Quiet
from plans import Gradient, assert_equal, by_hand, stepped, still, summed

TASKS = ("entities", "section", "answers", "similarity")
FACTORS = {"entities": 1.0, "section": 3.0, "answers": 0.5, "similarity": 1.0}
WEIGHTED = ("tasks.section.weight=3", "tasks.answers.weight=0.5", "training.learning_rate=1e-12")
MODELS = {
    "shared": (),
    "small packs": ("training.max_tokens_per_pack=40",),
    "private top": ("sharing.shared_layers=1",),
    "layer mix": ("sharing.layer_mix=true",),
    "lora": ("lora={dropout: 0}",),
    "frozen bottom": ("training.freeze={layers: 1}",),
    "frozen top": ("training.freeze={layers: [1]}",),
}


def equal(project: Path, *options: str, first: int = 1, every: int = 100) -> Plan:
    """A plan of equal norms that looks at norms in the first step alone."""
    balancing = f"training.balancing={{method: equal-norm, options: {{first: {first}, every: {every}}}}}"
    return still(project, *WEIGHTED, balancing, *options)


def owners(made: Plan) -> dict[str, str]:
    """The task of each parameter that only one trains."""
    names = {id(p): name for name, p in made.model.named_parameters()}
    return {names[id(p)]: part.tasks[0] for part in made.trainer.parts if len(part.tasks) == 1 for p in part.parameters}


def norm_of(gradient: Gradient, names: set[str]) -> float:
    return math.hypot(*(float(grad.norm()) for name, grad in gradient.items() if name in names))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("every", [1, 100], ids=["task by task", "together"])
def test_shared_gradients_have_the_weights_shown_and_what_is_a_task_s_own_its_static_one(
    project: Path, model: str, every: int
) -> None:
    made = equal(project, *MODELS[model], every=every)
    stepped(made)
    gradients, _ = by_hand(made, 1)
    found, record = stepped(made, 1)
    own = owners(made)
    assert record.weights != pytest.approx(FACTORS)
    assert bool(record.pulls) is (every == 1)
    expected = summed(gradients, record.weights)
    expected |= {name: FACTORS[task] * gradients[task][name] for name, task in own.items() if name in expected}
    assert_equal(found, expected, 1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_norms_are_those_at_everything_shared_and_pulls_follow_from_them(project: Path, model: str) -> None:
    made = equal(project, *MODELS[model])
    gradients, _ = by_hand(made)
    record = stepped(made)[1]
    shared = {name for name, _ in made.model.named_parameters()} - set(owners(made))
    norms = {task: norm_of(gradients[task], shared) for task in TASKS}
    assert made.trainer.gradients.observed.norms == pytest.approx(norms, rel=1e-3)
    whole = math.hypot(*(FACTORS[task] * norms[task] for task in TASKS))
    assert record.pulls == pytest.approx({task: FACTORS[task] * norms[task] / whole for task in TASKS}, rel=1e-3)
    weights = stepped(made, 1)[1].weights
    pulled = {task: weights[task] / FACTORS[task] * norms[task] for task in TASKS}
    assert pulled == pytest.approx(dict.fromkeys(TASKS, pulled["entities"]), rel=1e-3)


@pytest.mark.parametrize("packs", [(), ("training.max_tokens_per_pack=40",)], ids=["one pack", "small packs"])
def test_norms_at_heads_are_the_same_task_by_task_and_together_whatever_the_weights(
    project: Path, packs: tuple[str, ...]
) -> None:
    apart, together = equal(project, *packs, every=1), equal(project, *packs)
    for step in range(2):
        stepped(apart, step)
        stepped(together, step)
        assert together.trainer.gradients.observed.head_norms == pytest.approx(apart.trainer.gradients.observed.head_norms, rel=1e-3)
        assert all(norm > 0 for norm in together.trainer.gradients.observed.head_norms.values())


def louder(made: Plan, task: str, times: float) -> Plan:
    """A plan in which the loss of a task is so many times as large."""
    plain = made.tasks[task].loss

    def loss(output: Any, targets: Any) -> Any:
        found = plain(output, targets)
        return replace(found, values=found.values * times)

    object.__setattr__(made.tasks[task], "loss", loss)
    return made


def test_a_loss_a_thousand_times_as_large_gives_the_same_direction_once_its_norm_is_known(project: Path) -> None:
    directions = []
    for times in (1.0, 1000.0):
        made = louder(equal(project), "answers", times)
        stepped(made)
        own = owners(made)
        found = stepped(made, 1)[0]
        flat = torch.cat([grad.flatten().double() for name, grad in found.items() if name not in own])
        directions.append(flat / flat.norm())
    assert float(directions[0] @ directions[1]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("method", ["pcgrad", "gradnorm"])
def test_methods_that_see_norms_tell_the_pulls(project: Path, method: str) -> None:
    record = stepped(still(project, *WEIGHTED, f"training.balancing={method}"))[1]
    assert set(record.pulls) == set(TASKS)
    assert math.hypot(*record.pulls.values()) == pytest.approx(1.0)


def test_pulls_are_in_the_history_of_the_steps_in_which_they_are_known(project: Path) -> None:
    options = ["training.steps=6", "training.balancing={method: equal-norm, options: {first: 2, every: 3}}"]
    folder, _ = train_run(project, None, options, Quiet())
    rows = [row for row in map(json.loads, (folder / "history.jsonl").read_text().splitlines()) if "loss" in row]
    assert [row["step"] for row in rows if "pull" in row] == [0, 1, 4]
    assert not any("pull" in row for row in map(json.loads, (static(project) / "history.jsonl").open()))


def static(project: Path) -> Path:
    return train_run(project, None, ["training.steps=2", "output=static"], Quiet())[0]


def test_pulls_of_nothing_are_none() -> None:
    assert pulls({}) == pulls({"a": 0.0}) == pulls({"a": math.inf, "b": 1.0}) == {}
    assert pulls({"a": 3.0, "b": 4.0}) == pytest.approx({"a": 0.6, "b": 0.8})
