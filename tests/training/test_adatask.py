"""AdaTask against a plain loop of torch's AdamW, one for each task."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from manyheads.errors import CheckpointError
from manyheads.training.adatask import AdaTask, clip_by_task
from manyheads.training.gradient_diagnostics import diagnose
from manyheads.training.state import load_tensors, tensors_of
from plans import by_hand, plan, stepped, still, weights

TASKS = ("entities", "section", "answers", "similarity")
FACTORS = {"a": 1.0, "b": 2.0, "c": 0.5}


def gradient(task: str, step: int, like: torch.Tensor) -> torch.Tensor:
    """Of sizes that differ a thousandfold between tasks; none of c in odd steps."""
    draw = torch.Generator().manual_seed(1000 * step + ord(task))
    return torch.randn(like.shape, generator=draw) * {"a": 1.0, "b": 1e-3, "c": 30.0}[task]


class Loop:
    """The reference: each task's AdamW moves a parameter of its own, and the moves are added up."""

    def __init__(self, start: torch.Tensor, rate: float, decay: float) -> None:
        self.value, self.rate, self.decay = start.clone(), rate, decay
        self.own = {task: nn.Parameter(torch.zeros_like(start)) for task in FACTORS}
        self.optimizers = {task: torch.optim.AdamW([p], lr=rate, weight_decay=0.0) for task, p in self.own.items()}

    def step(self, gradients: dict[str, torch.Tensor]) -> None:
        self.value *= 1 - self.rate * self.decay
        for task, found in gradients.items():
            before = self.own[task].detach().clone()
            self.own[task].grad = found.clone()
            self.optimizers[task].step()
            self.value += FACTORS[task] * (self.own[task].detach() - before)


def test_shared_parameters_move_by_the_sum_of_what_adamw_does_for_each_task() -> None:
    torch.manual_seed(0)
    shared, own = nn.Parameter(torch.randn(7, 5)), nn.Parameter(torch.randn(3))
    optimizer = AdaTask([{"params": [shared, own], "weight_decay": 0.1, "lr": 0.01}], FACTORS)
    loop = Loop(shared.detach(), 0.01, 0.1)
    plain = nn.Parameter(own.detach().clone())
    alone = torch.optim.AdamW([plain], lr=0.01, weight_decay=0.1)
    for step in range(25):
        found = {task: gradient(task, step, shared) for task in FACTORS if task != "c" or step % 2 == 0}
        optimizer.by_task = {task: [(shared, each.clone())] for task, each in found.items()}
        own.grad = plain.grad = gradient("a", step, own)
        optimizer.step()
        optimizer.zero_grad()
        loop.step(found)
        alone.step()
    torch.testing.assert_close(shared.detach(), loop.value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own, plain)


def test_a_task_alone_takes_the_steps_of_adamw() -> None:
    torch.manual_seed(0)
    one = nn.Parameter(torch.randn(7, 5))
    other = nn.Parameter(one.detach().clone())
    optimizer = AdaTask([{"params": [one], "weight_decay": 0.1, "lr": 0.01}], {"a": 1.0})
    plain = torch.optim.AdamW([other], lr=0.01, weight_decay=0.1, fused=True)
    for step in range(10):
        optimizer.by_task = {"a": [(one, gradient("a", step, one))]}
        other.grad = gradient("a", step, one)
        optimizer.step()
        plain.step()
    torch.testing.assert_close(one, other)


def test_the_scale_of_a_task_s_gradient_makes_no_difference() -> None:
    ends = []
    for scale in (1.0, 1000.0):
        parameter = nn.Parameter(torch.ones(4))
        optimizer = AdaTask([{"params": [parameter], "lr": 0.01}], FACTORS)
        for step in range(10):
            found = {task: gradient(task, step, parameter) * (scale if task == "a" else 1.0) for task in FACTORS}
            optimizer.by_task = {task: [(parameter, each)] for task, each in found.items()}
            optimizer.step()
        ends.append(parameter.detach().clone())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-5)


def test_each_task_is_clipped_as_if_it_were_alone() -> None:
    shared, own = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    own.grad = torch.tensor([4.0])
    given = {"loud": [(shared, torch.tensor([3.0, 0.0]))], "soft": [(shared, torch.tensor([0.0, 0.5]))]}
    norm = clip_by_task(given, {"loud": [own]}, 1.0)
    assert float(norm) == pytest.approx((25 + 0.25) ** 0.5)
    assert given["loud"][0][1].tolist() == pytest.approx([0.6, 0.0], rel=1e-4)
    assert own.grad.tolist() == pytest.approx([0.8], rel=1e-4)
    assert given["soft"][0][1].tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    "options",
    [(), ("training.max_tokens_per_pack=40",), ("sharing.shared_layers=1",)],
    ids=["whole", "small", "branch"],
)
def test_a_step_of_training_adds_up_the_first_steps_of_all_tasks(project: Path, options: tuple[str, ...]) -> None:
    made = still(project, *options, "training.balancing=adatask", "training.weight_decay=0", "tasks.section.weight=2")
    before = weights(made.model)
    gradients, _ = by_hand(made)
    rate = 1e-3
    for group in made.trainer.components.optimizer.param_groups:
        assert "lr" in group
    phase = made.phases[0]
    record = stepped(made)[1]
    rate = {part.name: phase.rates.of(part, made.model.encoder.depth) * phase.factor(0) for part in made.trainer.parts}
    names = {id(p): name for name, p in made.model.named_parameters()}
    factor = {**dict.fromkeys(TASKS, 1.0), "section": 2.0}
    after = weights(made.model)
    assert record.weights == factor
    for part in made.trainer.parts:
        for name in (names[id(p)] for p in part.parameters):
            moved = torch.zeros_like(before[name])
            for task in TASKS:
                if name in gradients[task]:  # Adam's first step is the sign of the gradient
                    g = gradients[task][name]
                    if len(part.tasks) != 1:
                        moved -= rate[part.name] * factor[task] * g / (g.abs() + 1e-8 / factor[task])
            if len(part.tasks) != 1:
                clear = torch.stack([g[name].abs() for g in gradients.values() if name in g]).amin(0) > 1e-5
                torch.testing.assert_close((after[name] - before[name])[clear], moved[clear], rtol=5e-3, atol=1e-6)


def test_moments_of_tasks_are_saved_and_put_back_and_those_of_another_optimizer_refused(project: Path) -> None:
    one = plan(project, "training.balancing=adatask")
    list(one.trainer.run(one.phases[0], 0, 3))
    saved = {
        kind: {name: value.clone() for name, value in found.items()} for kind, found in tensors_of(one.trainer).items()
    }
    assert {label.partition("/")[0] for label in saved["optimizer"]} == {
        f"{moment}{slot}" for moment in ("exp_avg", "exp_avg_sq", "step") for slot in ("", ".0", ".1", ".2", ".3")
    }
    other = plan(project, "training.balancing=adatask")
    load_tensors(other.trainer, saved)
    for made in (one, other):
        list(made.trainer.run(made.phases[0], 3, 5))
    assert all(torch.equal(value, weights(other.model)[name]) for name, value in weights(one.model).items())
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load_tensors(plan(project).trainer, saved)
    broken = {**saved, "optimizer": {k: v for k, v in saved["optimizer"].items() if not k.startswith("exp_avg.1/")}}
    with pytest.raises(CheckpointError, match="has only"):
        load_tensors(plan(project, "training.balancing=adatask").trainer, broken)


def test_probing_leaves_moments_and_weights_as_they_are(project: Path) -> None:
    made = plan(project, "training.balancing=adatask", "training.steps=8")
    list(made.trainer.run(made.phases[0], 0, 4))
    before = copy.deepcopy(tensors_of(made.trainer))
    found = diagnose(made.trainer, range(4), 1e-3)
    assert found["affinity"]
    after = tensors_of(made.trainer)
    assert all(torch.equal(value, after[kind][name]) for kind, each in before.items() for name, value in each.items())
