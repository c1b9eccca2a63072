"""What crosses between devices, and records that come one step late. What needs CUDA is in tests/gpu."""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from manyheads.text.pack import STEADY
from manyheads.training.batches import prefetched
from manyheads.training.cuda.overlap import Figures, can_defer
from manyheads.training.loop import Components, Trainer
from manyheads.training.losses import Normaliser
from manyheads.training.precision import Precision
from plans import plan, weights


def test_figures_on_a_cpu_are_read_as_they_are() -> None:
    assert Figures([torch.tensor(1.5), torch.tensor(float("inf"))]).read() == [1.5, float("inf")]


def test_targets_that_a_task_names_stay_on_the_cpu(project: Path) -> None:
    made = plan(project)
    [batch] = made.trainer.batcher.batch(0)
    for name, targets in batch.targets.items():
        devices = {key: value.device.type for key, value in targets.to(torch.device("meta")).items()}
        assert {key for key, device in devices.items() if device == "cpu"} == made.tasks[name].targets_on_cpu
        assert set(devices.values()) <= {"cpu", "meta"}


def test_losses_read_no_other_target_than_those_that_stay(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses of all types run where nothing else can be turned into Python numbers: on the meta device."""
    for decoder in ("softmax", "crf"):
        made = plan(project, f"tasks.entities.decoder={decoder}")
        [batch] = made.trainer.batcher.batch(0)
        outputs = made.model(batch.pack, batch.reads)
        meta = torch.device("meta")
        for name, task in made.tasks.items():
            output = {key: value.detach().to(meta) for key, value in outputs[name].items()}
            loss = task.loss(output, batch.targets[name].to(meta))
            assert loss.mean.device.type == "meta", name


def defers(components: Components) -> bool:
    return can_defer(components.balancer, components.normaliser, components.precision)


@pytest.mark.parametrize(
    ("options", "behind"),
    [
        ((), True),
        (("training.balancing=random",), True),
        (("training.balancing=dwa",), False),
        (("training.balancing=equal-norm",), False),
        (("training.balancing=famo",), False),
        (("training.balancing=uncertainty",), False),
        (("training.balancing=gradnorm",), False),
        (("training.balancing=pcgrad",), False),
        (("training.balancing={normalize: initial-loss}",), False),
    ],
)
def test_figures_are_read_behind_the_step_only_where_nothing_depends_on_them(
    project: Path, options: tuple[str, ...], behind: bool
) -> None:
    made = plan(project, *options)
    assert defers(made.trainer.components) == behind
    assert not made.trainer.deferred, "on a CPU they are read at once"


def test_float16_and_first_losses_are_read_at_once(project: Path) -> None:
    components = plan(project).trainer.components
    assert not defers(replace(components, precision=Precision(torch.device("cuda"), torch.float16)))
    assert not defers(replace(components, normaliser=Normaliser("initial-loss")))


def test_records_that_come_late_are_the_same_and_in_order(project: Path) -> None:
    at_once, late = plan(project), plan(project)
    late.trainer.deferred = True
    steps: list[int] = []
    plain = late.trainer.gradients.of

    def noted(step: int, packs: Any) -> Any:
        steps.append(step)
        return plain(step, packs)

    late.trainer.gradients.of = noted  # type: ignore[method-assign]
    records = []
    for record in late.trainer.run(late.phases[0], 0, 6):
        records.append(record)
        assert len(steps) == min(6, len(records) + 1), "the next step is under way when a record comes"
    assert records == list(at_once.trainer.run(at_once.phases[0], 0, 6))
    one, two = weights(late.model), weights(at_once.model)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_step_whose_loss_is_not_finite_changes_nothing_though_it_is_read_late(project: Path) -> None:
    made, clean = plan(project), plan(project)
    for one in (made, clean):
        one.trainer.deferred = True
    loss, calls = made.tasks["section"].loss, list[int]()

    def broken(output: Any, targets: Any) -> Any:
        calls.append(len(calls))
        plain = loss(output, targets)
        return replace(plain, values=plain.values * float("nan")) if len(calls) == 3 else plain

    object.__setattr__(made.tasks["section"], "loss", broken)
    records = list(made.trainer.run(made.phases[0], 0, 4))
    assert [record.skip is not None for record in records] == [False, False, True, False]
    clean.trainer.guard.avoided = frozenset({2})
    expected = list(clean.trainer.run(clean.phases[0], 0, 4))
    assert [record.losses for record in records] == [record.losses for record in expected]
    one, two = weights(made.model), weights(clean.model)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_batches_for_a_cpu_are_not_pinned(project: Path) -> None:
    trainer: Trainer = plan(project).trainer
    [packs] = prefetched(trainer.batcher, 0, 1)
    assert not packs[0].pack.ids_T.is_pinned()


class Copies(TorchDispatchMode):
    """Notes copies from the CPU to another device that the CPU would wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.blocking: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        more = kwargs or {}
        moves = func is torch.ops.aten._to_copy.default and args[0].device.type == "cpu"
        if moves and more.get("device", args[0].device).type != "cpu" and not more.get("non_blocking"):
            self.blocking.append("".join(traceback.format_stack(limit=12)))
        return func(*args, **more)


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_a_step_reads_nothing_back_from_its_device_and_waits_for_no_copy_to_it(project: Path, decoder: str) -> None:
    """A device of whose numbers none can be read shows, without CUDA, that a step needs none."""
    made = plan(project, f"tasks.entities.decoder={decoder}", "training.schedule=constant")
    old, meta = made.trainer, torch.device("meta")
    old.batcher.multiple = STEADY
    old.model.to(meta)
    components = replace(old.components, optimizer=unfused(old.components.optimizer), precision=Precision(meta, None))
    trainer = Trainer(old.model, old.tasks, old.batcher, old.parts, components)
    trainer.deferred = True
    trainer.prepare(made.phases[0])
    with Copies() as copies:
        for step in range(3):
            trainer._begin(made.phases[0], step, trainer.batcher.batch(step), 0)
    assert not copies.blocking, copies.blocking[0]


def unfused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same groups in an optimizer that any device has."""
    keep = ("params", "weight_decay", "part")
    return torch.optim.AdamW(
        [{key: group[key] for key in keep} for group in optimizer.param_groups], lr=0.0, foreach=True
    )
