"""Plans of toy runs, and gradients computed by hand to compare the trainer's with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.training.losses import Normaliser
from manyheads.training.phases import Phase
from manyheads.training.plan import Plan
from manyheads.training.step_record import StepRecord

Gradient = dict[str, torch.Tensor]
"""By the name of the parameter."""

EXACT = ("training.clip=1e9", "training.warmup=0", "tasks.similarity.objective=cosine")
"""No clipping, and no loss that compares pairs with one another: those change when a step is split."""


def plan(run: Path, *overrides: str) -> Plan:
    """The plan of a run file."""
    return build_plan(load_run(run, list(overrides)))


def still(run: Path, *overrides: str) -> Plan:
    """A plan without dropout, clipping, or losses that compare pairs."""
    made = plan(run, *EXACT, *overrides)
    for module in made.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return made


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def stepped(made: Plan, step: int = 0, phase: Phase | None = None) -> tuple[Gradient, StepRecord]:
    """What one step of a plan gave its optimizer (a parameter without a gradient is left out), and its record."""
    trainer, found = made.trainer, dict[str, torch.Tensor]()
    names = {id(parameter): name for name, parameter in made.model.named_parameters()}
    names |= {id(p): f"balancing {i}" for i, p in enumerate(trainer.components.balancer.parameters())}

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            found.update({names[id(p)]: p.grad.clone() for p in group["params"] if p.grad is not None})

    hook = trainer.components.optimizer.register_step_pre_hook(look)
    phase = phase or made.phases[0]
    trainer.prepare(phase)
    record = trainer.step(phase, step, trainer.batcher.batch(step))
    hook.remove()
    return found, record


def by_hand(made: Plan, step: int = 0) -> tuple[dict[str, Gradient], dict[str, float]]:
    """Each task's gradient of its unweighted loss, normalised by default, and that loss, with all of the step in one pack."""
    batcher = copy.copy(made.trainer.batcher)
    batcher.max_tokens, batcher.one_task = None, False
    made.trainer.prepare(made.phases[0])
    [batch] = batcher.batch(step)
    named = {name: p for name, p in made.model.named_parameters() if p.requires_grad}
    outputs = made.model(batch.pack, batch.reads)
    gradients, losses = {}, {}
    for name, output in outputs.items():
        loss = Normaliser("log-classes").scaled(name, made.tasks[name].loss(output, batch.targets[name]))
        grads = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
        gradients[name] = {key: grad for key, grad in zip(named, grads, strict=True) if grad is not None}
        losses[name] = float(loss.detach())
    return gradients, losses


def summed(gradients: Mapping[str, Gradient], factors: Mapping[str, float]) -> Gradient:
    """The weighted sum of tasks' gradients."""
    total: Gradient = {}
    for task, gradient in gradients.items():
        for name, grad in gradient.items():
            total[name] = total.get(name, torch.zeros_like(grad)) + factors[task] * grad
    return total


def assert_equal(seen: Gradient, expected: Gradient, tolerance: float = 2e-6) -> None:
    """The same parameters, and for each the same gradient up to rounding of the largest one."""
    assert set(seen) == set(expected)
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, grad in expected.items():
        assert torch.allclose(seen[name], grad, rtol=1e-4, atol=tolerance * max(largest, 1.0)), name
