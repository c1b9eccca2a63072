"""Steps that cannot be right: they leave no trace but a line, and too many of them turn the run back, once."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.balance import BALANCERS
from manyheads.cli import main
from manyheads.errors import DivergedError, StoppedError
from manyheads.tasks.text_classification import TextClassification
from manyheads.training.guard import LARGEST, LEAST_SPIKE, SETTLED, WINDOW, Guard, Skip, find_fault
from manyheads.training.plan import Plan
from manyheads.training.state import state_of, tensors_of
from manyheads.training.step_record import StepRecord
from manyheads.training.stop import Stop
from plans import plan, weights
from runs import Watch, assert_same, history, outcome, run_training, went

OPTIONS = ("training.save_every=2", "training.evaluate_every=1000")
NAN, INF = float("nan"), float("inf")


class Poisoned:
    """A task whose losses are multiplied by something in some steps. `step` must be kept up to date."""

    def __init__(self, task: Any, steps: Collection[int], factor: float) -> None:
        self.task, self.steps, self.factor, self.step = task, steps, factor, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def loss(self, output: Any, target: Any) -> Any:
        loss = self.task.loss(output, target)
        return replace(loss, values=loss.values * self.factor) if self.step in self.steps else loss


def poison(made: Plan, steps: Collection[int], factor: float = NAN, name: str = "section") -> Plan:
    """The plan, with bad losses of one task in these steps."""
    gradients = made.trainer.gradients
    bad = Poisoned(gradients.objective.tasks[name], steps, factor)
    gradients.objective.tasks = {**gradients.objective.tasks, name: bad}  # type: ignore[dict-item]
    of = gradients.of

    def noted(step: int, *rest: Any, **options: Any) -> Any:
        bad.step = step
        return of(step, *rest, **options)

    gradients.of = noted  # type: ignore[method-assign]
    return made


def everything(made: Plan) -> dict[str, bytes]:
    """All that a step may change."""
    found = {
        f"{kind}/{name}": tensor.numpy().tobytes()
        for kind, tensors in tensors_of(made.trainer).items()
        for name, tensor in tensors.items()
    }
    return {**found, "state": json.dumps(state_of(made.trainer), sort_keys=True).encode()}


def steps(made: Plan, first: int, stop: int) -> list[StepRecord]:
    """Records of steps of the first phase."""
    return list(made.trainer.run(made.phases[0], first, stop))


# One bad step


@pytest.mark.parametrize(
    ("method", "factor"), [*((method, NAN) for method in BALANCERS), ("famo", 1e4), ("nash-mtl", 1e4)]
)
def test_a_bad_step_changes_no_weight_and_no_statistic_of_any_way_of_balancing(
    project: Path, method: str, factor: float
) -> None:
    made = poison(plan(project, f"training.balancing.method={method}"), {2}, factor)
    settle(made.trainer.guard)
    steps(made, 0, 2)
    before = everything(made)
    [record] = steps(made, 2, 3)
    assert record.skip is not None
    assert record.skip.tasks == ("section",)
    assert not record.losses
    assert everything(made) == before
    [after] = steps(made, 3, 4)
    assert after.skip is None, "a clean step after a bad one is made"
    assert everything(made) != before


def settle(guard: Guard, names: Collection[str] = ("entities", "section", "answers", "similarity")) -> None:
    """As many good steps as it takes until spikes are looked for."""
    for _ in range(SETTLED):
        guard.accept(dict.fromkeys(names, 1.0))


@pytest.mark.parametrize(("normalize", "factor"), [("none", -INF), ("log-classes", INF), ("initial-loss", NAN)])
def test_a_loss_that_is_not_finite_in_the_first_step_leaves_no_trace(
    project: Path, normalize: str, factor: float
) -> None:
    made = poison(plan(project, f"training.balancing.normalize={normalize}"), {0}, factor)
    before = everything(made)
    [record] = steps(made, 0, 1)
    assert record.skip is not None
    assert record.skip.reason == "the loss of section is not finite"
    assert everything(made) == before


def test_targets_that_are_not_finite_leave_no_trace(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the batch itself, as a broken file would have it."""
    made = plan(project, "training.max_tokens_per_pack=64", "tasks.similarity.objective=cosine")
    batch = made.trainer.batcher.batch

    def broken(step: int, *rest: Any, **options: Any) -> Any:
        packs = batch(step, *rest, **options)
        for values in (pack.targets["similarity"] for pack in packs if "similarity" in pack.targets and step == 1):
            for value in values.values():
                if value.is_floating_point():
                    value.view(-1)[0] = NAN
        return packs

    monkeypatch.setattr(made.trainer.batcher, "batch", broken)
    steps(made, 0, 1)
    before = everything(made)
    [record] = steps(made, 1, 2)
    assert record.skip is not None
    assert record.skip.tasks == ("similarity",)
    assert everything(made) == before


def heads(made: Plan, name: str) -> torch.nn.Parameter:
    """A weight of one task's head."""
    return next(p for part in made.trainer.parts if part.tasks == (name,) for p in part.parameters if p.ndim > 1)


@pytest.mark.parametrize(("method", "value"), [("static", INF), ("gradnorm", NAN), ("pcgrad", NAN)])
def test_a_gradient_that_is_not_finite_leaves_no_trace_and_its_task_is_found(
    project: Path, method: str, value: float
) -> None:
    made = plan(project, f"training.balancing.method={method}")
    steps(made, 0, 2)
    before = everything(made)
    hook = heads(made, "answers").register_hook(lambda grad: grad * value)  # type: ignore[no-untyped-call]
    [record] = steps(made, 2, 3)
    hook.remove()
    assert record.skip is not None
    assert record.skip.reason == "the gradient is not finite (answers)"
    assert record.skip.tasks == ("answers",)
    assert set(record.skip.rows) == {"answers"}
    assert everything(made) == before
    assert all(p.grad is None for p in made.model.parameters()), "nor a gradient for the next step"
    [after] = steps(made, 3, 4)
    assert after.skip is None


def test_a_gradient_of_the_shared_encoder_that_is_not_finite_is_every_tasks(project: Path) -> None:
    made = plan(project)
    before = weights(made.model)
    shared = next(p for part in made.trainer.parts if part.place == "layer" for p in part.parameters)
    shared.register_hook(lambda grad: grad * NAN)  # type: ignore[no-untyped-call]
    [record] = steps(made, 0, 1)
    assert record.skip is not None
    assert set(record.skip.tasks) == set(made.tasks)
    assert all(torch.equal(value, before[name]) for name, value in weights(made.model).items())


def test_a_skip_names_task_rows_and_their_places(project: Path) -> None:
    made = poison(plan(project), {1})
    [_, record] = steps(made, 0, 2)
    skip = record.skip
    assert skip is not None
    rows = made.trainer.batcher.draw(1).rows["section"]
    assert {name: list(found) for name, found in skip.rows.items()} == {"section": rows}
    table = next(feed.table for feed in made.trainer.batcher.feeds if feed.task.name == "section")
    places = [table.where(row) for row in rows]
    assert all("data/sections.csv:" in place for place in places)
    assert skip.line().startswith("step 1: skipped, the loss of section is not finite (rows ")
    assert all(place in skip.line() for place in places[:5])
    assert skip.to_json() == {"step": 1, "skipped": "the loss of section is not finite", "tasks": ["section"],
                              "rows": {"section": rows}}  # fmt: skip


def test_a_line_names_no_more_than_five_rows() -> None:
    skip = Skip(3, "so", ("a",), {"a": list(range(8))}, tuple(f"a.csv:{i}" for i in range(5)))
    assert skip.line().endswith("(rows a.csv:0, a.csv:1, a.csv:2, a.csv:3, a.csv:4 and 3 more)")


# What is bad


def test_losses_and_norms_that_are_not_finite_are_bad() -> None:
    limits = [LARGEST, LARGEST]
    assert find_fault({"a": 1.0, "b": 2.0}, limits, 1.0) is None
    for odd in (NAN, INF, -INF):
        assert find_fault({"a": 1.0, "b": odd}, limits, 1.0) == ("the loss of b is not finite", ("b",))
        assert find_fault({"a": 1.0, "b": 2.0}, limits, odd) == ("the gradient is not finite", ())
        assert find_fault({"a": 1.0, "b": 2.0}, limits, None) is None
    assert find_fault({"a": 9.0, "b": 2.0}, [8.5, 3.0], 1.0) == ("the loss jumped: a 9 (limit 8.5)", ("a",))
    assert find_fault({"a": 8.5, "b": 2.0}, [8.5, 3.0], 1.0) is None


def test_a_spike_is_so_many_times_the_mean_of_the_last_steps() -> None:
    guard = Guard(spike=10.0)
    for _ in range(SETTLED + 200):
        guard.accept({"a": 2.0, "b": 0.7})
    assert guard.limits(["b", "a"]) == pytest.approx([7.0, 20.0], rel=1e-6)
    for _ in range(500):
        guard.accept({"a": 0.5})
    assert guard.limits(["a"]) == pytest.approx([5.0], rel=0.01), "the mean follows"


def test_no_spike_is_looked_for_before_a_task_had_50_steps_of_its_own() -> None:
    guard = Guard()
    for count in range(SETTLED):
        assert guard.limits(["a"]) == [float(np.float32(LARGEST))], count
        guard.accept({"a": 1.0})
    assert guard.limits(["a"]) == pytest.approx([10.0])
    assert guard.limits(["b"]) == [float(np.float32(LARGEST))]


def test_no_loss_below_three_times_the_uninformed_one_is_a_spike() -> None:
    guard = Guard()
    for _ in range(2 * SETTLED):
        guard.accept({"a": 0.001})
    assert guard.limits(["a"]) == [LEAST_SPIKE]


def test_without_a_spike_factor_every_finite_loss_is_good() -> None:
    guard = Guard(spike=None)
    settle(guard, ["a"])
    assert find_fault({"a": 3e38}, guard.limits(["a"]), 1.0) is None
    assert find_fault({"a": INF}, guard.limits(["a"]), 1.0) is not None


def test_limits_are_float32_so_that_a_device_judges_as_the_cpu_does() -> None:
    guard = Guard(spike=7.1)
    for i in range(137):
        guard.accept({"a": 1.0 + i / 3})
    [limit] = guard.limits(["a"])
    assert float(np.float32(limit)) == limit
    assert math.isfinite(float(np.float32(LARGEST)))


def test_a_bad_step_is_not_in_the_mean(project: Path) -> None:
    made = poison(plan(project), {0, 1}, 1e6)
    settle(made.trainer.guard)
    before = made.trainer.guard.limits(list(made.tasks))
    records = steps(made, 0, 2)
    assert [record.skip is not None for record in records] == [True, True], "the first does not make way for the second"
    assert made.trainer.guard.limits(list(made.tasks)) == before


def test_a_spike_before_50_steps_is_learned_from(project: Path) -> None:
    [record] = steps(poison(plan(project), {0}, 100.0), 0, 1)
    assert record.skip is None


def test_bad_steps_count_for_100_steps() -> None:
    guard = Guard(skips=2)
    assert [guard.refuse(step) for step in (0, 50, WINDOW, WINDOW + 1)] == [False, False, False, True]
    assert guard.bad == [50, WINDOW, WINDOW + 1]


def test_its_state_survives_json() -> None:
    guard = Guard(skips=1)
    settle(guard, ["a", "b"])
    guard.refuse(3)
    guard.roll_back([3, 4])
    guard.refuse(7)
    other = Guard(skips=1)
    other.load_state(json.loads(json.dumps(guard.state())))
    assert other.state() == guard.state()
    assert (other.rolled_back, other.avoided, other.bad) == (True, frozenset({3, 4}), [7])
    assert other.limits(["a", "b", "c"]) == guard.limits(["a", "b", "c"])
    assert other.refuse(8), "two bad steps are more than one"


# A run with bad steps


def run_of(project: Path, bad: Collection[int], *overrides: str, output: str = "bad") -> tuple[Plan, Watch]:
    """A run in which these steps are bad."""
    made = poison(plan(project, *OPTIONS, *overrides, f"output=runs/{output}"), bad)
    return made, went(made)


def test_bad_steps_are_told_and_logged_and_the_others_made(project: Path) -> None:
    made, watch = run_of(project, {2, 4}, "training.steps=6")
    assert [line.split(":")[0] for line in watch.lines("skipped,")] == ["step 2", "step 4"]
    rows = history(made.output)
    assert [row["step"] for row in rows if "skipped" in row] == [2, 4]
    bad = next(row for row in rows if row.get("step") == 4)
    assert bad["tasks"] == ["section"]
    assert bad["rows"] == {"section": made.trainer.batcher.draw(4).rows["section"]}
    assert [row["step"] for row in rows if row.get("loss")] == [0, 1, 3, 5]


@pytest.mark.long
def test_after_20_bad_steps_in_a_row_the_run_ends_as_if_they_had_been_left_out(project: Path) -> None:
    bad = range(4, 24)
    made, watch = run_of(project, bad, "training.steps=27")
    [line] = watch.lines("back to the checkpoint")
    left = ", ".join(map(str, range(4, 15)))
    assert line == ("step 14: the loss of section is not finite; 11 of the last steps were bad: back to the checkpoint of "
                    f"step 14, without the batches of steps {left}")  # fmt: skip
    [event] = [row for row in history(made.output) if "turned_back_to" in row]
    assert event == {"step": 14, "turned_back_to": 14, "left_out": list(range(4, 15))}
    made_steps = [record.step for record in watch.records if record.losses]
    assert made_steps == [*range(4), *range(24, 27)], "all good steps are made, once"
    clean = plan(project, *OPTIONS, "training.steps=27", "output=runs/clean")
    clean.trainer.guard.avoided = frozenset(bad)
    went(clean)
    after = weights(clean.model)
    assert all(torch.equal(value, after[name]) for name, value in weights(made.model).items())


def test_a_second_time_ends_the_run_with_status_3(project: Path) -> None:
    with pytest.raises(DivergedError, match=r"11 of the last steps were bad, after the run had gone back to a checkpoint "
                       r"once; lower `training.learning_rate`"):  # fmt: skip
        run_of(project, range(4, 99), "training.steps=40")
    assert DivergedError.exit_status == 3


def test_the_command_ends_with_status_3(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = TextClassification.loss
    monkeypatch.setattr(
        TextClassification, "loss", lambda *given: replace(found := loss(*given), values=found.values * NAN)
    )
    assert main(["train", str(project), *(word for each in OPTIONS for word in ("--set", each)),
                 "--set", "training.guard.skips=1"]) == 3  # fmt: skip
    shown = capsys.readouterr().err
    assert "error: step " in shown
    assert "sections.csv:" in shown
    assert not (project.parent / "runs/model/manyheads.json").exists()


def test_without_skips_the_first_bad_step_turns_the_run_back(project: Path) -> None:
    _, watch = run_of(project, {3}, "training.guard.skips=0", "training.steps=6")
    assert watch.lines("step 3: the loss of section is not finite; 1 of the last steps were bad: back to the checkpoint "
                       "of step 2, without the batches of steps 3")  # fmt: skip
    assert [record.step for record in watch.records] == [0, 1, 2, 3, 2, 3, 4, 5]


def test_without_a_checkpoint_there_is_no_way_back(project: Path) -> None:
    with pytest.raises(DivergedError, match="1 of the last steps were bad, and there is no checkpoint to go back to"):
        run_of(project, {1}, "training.guard.skips=0", "training.steps=3", "training.save_every=0")


def test_the_first_checkpoint_is_that_of_the_beginning(project: Path) -> None:
    _, watch = run_of(project, {0}, "training.guard.skips=0", "training.steps=2", "training.save_every=5")
    assert [record.step for record in watch.records] == [0, 0, 1]
    assert watch.lines("back to the checkpoint of step 0, without the batches of steps 0")


def test_a_damaged_checkpoint_is_not_gone_back_to(project: Path) -> None:
    made = poison(plan(project, *OPTIONS, "training.guard.skips=0", "training.steps=6"), {5})

    class Damages(Watch):
        def step(self, record: StepRecord, steps: int) -> None:
            super().step(record, steps)
            if record.step == 4:
                (made.output / "checkpoints/step-00000004/state.json").write_bytes(b"")

    watch = Damages()
    run_training(made, watch)
    assert watch.lines("warning: ")
    assert watch.lines("back to the checkpoint of step 2, without the batches of steps 5")
    assert [record.step for record in watch.records] == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5]


@pytest.mark.long
def test_what_guards_know_survives_stops_before_and_after_the_run_turns_back(project: Path) -> None:
    options = (*OPTIONS, "training.guard.skips=3", "training.steps=16", "training.balancing=dwa")
    bad = {2, 3, 5, 6, 8, 9, 11}
    whole = poison(plan(project, *options, "output=runs/whole"), bad)
    watch = went(whole)
    assert len(watch.lines("back to the checkpoint")) == 1
    said: list[str] = []
    for i, after in enumerate((4, 7, 10, 12)):
        stop = Stop()
        part = poison(plan(project, *options), bad)
        seen = Watch(stop=stop, after=after)
        with pytest.raises(StoppedError):
            run_training(part, seen, resume=i > 0, stop=stop)
        said += seen.lines("back to the checkpoint")
    made = poison(plan(project, *options), bad)
    said += went(made, resume=True).lines("back to the checkpoint")
    seen_all, expected = outcome(made), outcome(whole)
    assert said == watch.lines("back to the checkpoint")
    assert_same(seen_all, expected)
