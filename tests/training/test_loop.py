"""Steps against gradients worked out by hand: packs, balancing by gradients, learned weights, memory that runs out."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.balance.base import Balancer, GramianBalancer
from manyheads.errors import TrainingError
from manyheads.training.gradients.compute import step_seed
from manyheads.training.loop import Trainer
from manyheads.training.optim import BALANCING
from manyheads.training.plan import Plan
from manyheads.training.state import state_of, tensors_of
from plans import assert_equal, by_hand, plan, stepped, still, summed, weights

TASKS = ("entities", "section", "answers", "similarity")
WEIGHTED = ("tasks.section.weight=3", "tasks.answers.weight=0.5", "tasks.section.class_weights=balanced")
FACTORS = {"entities": 1.0, "section": 3.0, "answers": 0.5, "similarity": 1.0}
SMALL = "training.max_tokens_per_pack=40"
BRANCHED = "sharing.shared_layers=1"
HEADS = tuple(f"heads.{task}." for task in TASKS)


class Sum(GramianBalancer):
    """Static weights, by way of gradients."""

    def _solve(self, step: int, gramian_KK: torch.Tensor, tasks: Sequence[str]) -> torch.Tensor:
        return torch.ones(len(tasks), dtype=torch.float64)


def told(made: Plan, method: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Arguments of every call of a method of the balancer, which does its work all the same."""
    calls: list[tuple[Any, ...]] = []
    balancer = made.trainer.components.balancer
    plain = getattr(balancer, method)

    def noted(*arguments: Any) -> None:
        calls.append(arguments)
        plain(*arguments)

    monkeypatch.setattr(balancer, method, noted)
    return calls


# One step, in one pack or in several


@pytest.mark.parametrize("packs", [(), (SMALL,)], ids=["one pack", "small packs"])
@pytest.mark.parametrize("model", [(), (BRANCHED,), ("sharing.layer_mix=true",)], ids=["shared", "branched", "mixed"])
@pytest.mark.parametrize("method", ["static", "gradnorm", "equal-norm"])
def test_the_gradient_of_a_step_is_that_of_the_weighted_sum_of_losses(
    project: Path, method: str, model: tuple[str, ...], packs: tuple[str, ...]
) -> None:
    made = still(project, *WEIGHTED, *model, *packs, f"training.balancing={method}")
    gradients, losses = by_hand(made)
    found, record = stepped(made)
    assert set(losses) == set(TASKS)
    assert_equal(found, summed(gradients, FACTORS))
    assert record.losses == pytest.approx(losses, rel=1e-4)
    assert record.packs == 1 if not packs else record.packs >= 5


@pytest.mark.parametrize("method", ["pcgrad", "uncertainty", "cagrad", "adatask"])
def test_packs_make_no_difference_to_the_gradient(project: Path, method: str) -> None:
    one, first = stepped(still(project, *WEIGHTED, f"training.balancing={method}"))
    small, second = stepped(still(project, *WEIGHTED, f"training.balancing={method}", SMALL))
    assert second.packs > first.packs
    assert_equal(small, one)
    assert second.weights == pytest.approx(first.weights, rel=1e-4)


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
@pytest.mark.parametrize("step", [1, 2])
def test_later_steps_and_both_decoders_split_alike(project: Path, decoder: str, step: int) -> None:
    options = (f"tasks.entities.decoder={decoder}", "tasks.section.class_weights=balanced")
    made = still(project, *options, "training.max_tokens_per_pack=32")
    gradients, _ = by_hand(made, step)
    found, record = stepped(made, step)
    assert record.packs > 4
    assert_equal(found, summed(gradients, dict.fromkeys(TASKS, 1.0)))


def test_losses_of_several_labels_a_text_split_alike(project: Path) -> None:
    (project.parent / "data/many.jsonl").write_text(
        "".join(f'{{"text": "Aspirin number {i} lowered fever.", "labels": {["[]", "[{}]"][i > 1].format(chr(34) + "ab"[i % 2] + chr(34))}}}\n'
                for i in range(8))
    )  # fmt: skip
    options = ("tasks.section.data={train: data/many.jsonl}", "tasks.section.validation_fraction=0")
    made = still(project, *options, "training.max_tokens_per_pack=32")
    gradients, _ = by_hand(made)
    found, record = stepped(made)
    assert record.packs > 4
    assert_equal(found, summed(gradients, dict.fromkeys(TASKS, 1.0)))


# Gradients combined


def with_balancer(made: Plan, balancer: Balancer) -> Plan:
    """The plan with a trainer that balances otherwise."""
    old = made.trainer
    components = replace(old.components, balancer=balancer)
    return replace(made, trainer=Trainer(old.model, old.tasks, old.batcher, old.parts, components))


@pytest.mark.parametrize("model", [(), (BRANCHED,)], ids=["shared", "branched"])
@pytest.mark.parametrize("packs", [(), (SMALL,)], ids=["one pack", "small packs"])
def test_task_by_task_with_static_weights_is_the_joint_gradient(
    project: Path, model: tuple[str, ...], packs: tuple[str, ...]
) -> None:
    made = still(project, *WEIGHTED, *model, *packs, "training.balancing=pcgrad")
    made = with_balancer(made, Sum(FACTORS))
    found, record = stepped(made)
    assert record.weights == pytest.approx(FACTORS)
    joint, _ = stepped(still(project, *WEIGHTED, *model))
    assert_equal(found, joint)


def projected(gradients: Mapping[str, torch.Tensor], orders: Mapping[str, Sequence[str]]) -> tuple[torch.Tensor, int]:
    """PCGrad as in the paper, on whole gradients, and how often a gradient was projected."""
    total, conflicts = torch.zeros_like(next(iter(gradients.values()))), 0
    for task, gradient in gradients.items():
        own = gradient.clone()
        for other in orders[task]:
            dot = own @ gradients[other]
            if dot < 0:
                own -= dot / gradients[other].square().sum() * gradients[other]
                conflicts += 1
        total += own
    return total, conflicts


@pytest.mark.parametrize("packs", [(), (SMALL,)], ids=["one pack", "small packs"])
def test_pcgrad_is_that_of_the_paper_on_gradients_taken_by_autograd(project: Path, packs: tuple[str, ...]) -> None:
    conflicts = 0
    for step in range(3):
        made = still(project, *WEIGHTED, *packs, "training.balancing=pcgrad")
        gradients, _ = by_hand(made, step)
        shared = [name for name, _ in made.model.named_parameters() if not name.startswith(HEADS)]
        flat = {task: FACTORS[task] * torch.cat([gradients[task][name].flatten().double() for name in shared])
                for task in TASKS}  # fmt: skip
        found, record = stepped(made, step)
        order = made.trainer.components.balancer.order(step, TASKS)  # type: ignore[attr-defined]
        orders = {TASKS[i]: [TASKS[j] for j in others] for i, others in enumerate(order)}
        expected, some = projected(flat, orders)
        seen = torch.cat([found[name].flatten().double() for name in shared])
        assert torch.allclose(seen, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
        conflicts += some
        if some:
            assert record.weights != pytest.approx(FACTORS)
    assert conflicts, "the toy data has no conflict: the test shows nothing"


@pytest.mark.parametrize("method", ["pcgrad", "cagrad", "mgda", "nash-mtl"])
def test_what_belongs_to_one_task_gets_its_static_weight_times_its_gradient(project: Path, method: str) -> None:
    made = still(project, *WEIGHTED, BRANCHED, f"training.balancing={method}")
    gradients, _ = by_hand(made)
    found, _ = stepped(made)
    own = {name: task for part in made.trainer.parts if len(part.tasks) == 1 for task in part.tasks
           for name, p in made.model.named_parameters() if any(p is mine for mine in part.parameters)}  # fmt: skip
    assert {name for name in own if name.startswith("encoder.")}, "the first task owns the upper layer of the encoder"
    expected = {name: FACTORS[task] * gradients[task][name] for name, task in own.items()}
    assert_equal({name: found[name] for name in own}, expected)


def test_gradient_methods_work_when_nothing_shared_is_trained(project: Path) -> None:
    for method in ("pcgrad", "gradnorm", "equal-norm", "adatask"):
        made = still(project, *WEIGHTED, "training.freeze=encoder", f"training.balancing={method}")
        gradients, _ = by_hand(made)
        found, record = stepped(made)
        assert_equal(found, summed(gradients, FACTORS))
        assert record.weights == pytest.approx(FACTORS)


# Learned weights


@pytest.mark.parametrize("packs", [(), (SMALL,)], ids=["one pack", "small packs"])
@pytest.mark.parametrize(
    ("options", "layer"),
    [((), 1), ((BRANCHED,), 0), (("training.freeze={layers: [1]}",), 0)],
    ids=["shared", "branched", "top frozen"],
)
def test_gradnorm_is_told_the_norms_at_the_last_shared_layer_that_trains(
    project: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], layer: int, packs: tuple[str, ...]
) -> None:
    made = still(project, *WEIGHTED, *options, *packs, "training.balancing=gradnorm")
    calls = told(made, "observe_norms", monkeypatch)
    gradients, losses = by_hand(made)
    record = stepped(made)[1]
    [(step, norms, seen)] = calls
    place = f"encoder.model.encoder.layer.{layer}."
    by_layer = {
        task: float(torch.cat([g.flatten() for name, g in gradient.items() if name.startswith(place)]).norm())
        for task, gradient in gradients.items()
    }
    assert step == 0
    assert norms == pytest.approx(by_layer, rel=1e-3)
    assert seen == pytest.approx(losses, rel=1e-4)
    assert record.weights == pytest.approx(FACTORS)
    assert stepped(made, 1)[1].weights != pytest.approx(FACTORS), "the weights have moved"


@pytest.mark.parametrize("normalize", ["log-classes", "initial-loss"])
def test_famo_is_told_the_losses_of_the_same_examples_after_the_update(
    project: Path, monkeypatch: pytest.MonkeyPatch, normalize: str
) -> None:
    made = still(project, f"training.balancing={{method: famo, normalize: {normalize}}}", SMALL)
    calls = told(made, "observe_after", monkeypatch)
    _, before = by_hand(made)
    stepped(made)
    _, after = by_hand(made)
    [(_, told_before, told_after)] = calls
    unit = before if normalize == "initial-loss" else dict.fromkeys(TASKS, 1.0)
    assert told_before == pytest.approx({name: before[name] / unit[name] for name in TASKS}, rel=1e-4)
    assert told_after == pytest.approx({name: after[name] / unit[name] for name in TASKS}, rel=1e-4)
    assert told_after != pytest.approx(told_before, rel=1e-3)


def test_dropout_is_the_same_when_losses_are_read_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(project, "training.balancing=famo", "training.learning_rate=1e-12")
    calls = told(made, "observe_after", monkeypatch)
    stepped(made)
    [(_, before, after)] = calls
    assert after == pytest.approx(before, rel=1e-5)


def test_uncertainty_learns_and_is_not_clipped_with_the_rest(project: Path) -> None:
    made = plan(project, *WEIGHTED, "training.balancing=uncertainty", "training.clip=1e-3", SMALL)
    found, record = stepped(made)
    rest = torch.cat([grad.flatten() for name, grad in found.items() if not name.startswith("balancing")])
    assert float(rest.norm()) == pytest.approx(1e-3, rel=1e-3)
    assert record.gradient_norm > 1e-2
    for i, task in enumerate(TASKS):  # d/dv of static * (exp(-v) L + v / 2) at v = 0
        assert float(found[f"balancing {i}"]) == pytest.approx(FACTORS[task] * (0.5 - record.losses[task]), rel=1e-3)
    for step in range(1, 6):
        record = stepped(made, step)[1]
    for task in TASKS:
        assert record.weights[task] != pytest.approx(FACTORS[task], rel=1e-3)
    groups = made.trainer.components.optimizer.param_groups
    assert [group["lr"] for group in groups if group["part"] == BALANCING] == [0.01]


# A step's randomness and its failures


def test_a_step_repeats_whatever_was_drawn_before(project: Path) -> None:
    first = stepped(plan(project))[0]
    torch.rand(7)
    again = stepped(plan(project))[0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert step_seed(0, 1) != step_seed(0, 2) != step_seed(1, 2)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
@pytest.mark.parametrize(
    "method", ["static", "uncertainty", "dwa", "famo", "gradnorm", "pcgrad", "equal-norm", "adatask"]
)
def test_a_step_whose_loss_or_gradient_is_not_finite_leaves_no_trace(project: Path, broken: str, method: str) -> None:
    made = plan(project, f"training.balancing={{method: {method}, normalize: initial-loss}}")
    last = next(p for p in made.model.heads["section"].parameters() if p.ndim == 1)
    list(made.trainer.run(made.phases[0], 0, 2))
    if broken == "loss":
        spoil(made, "section")
    else:
        last.register_hook(lambda gradient: gradient * float("inf"))
    before, state = weights(made.model), json.dumps(state_of(made.trainer))
    moments = copy.deepcopy(tensors_of(made.trainer)["optimizer"])
    [record] = made.trainer.run(made.phases[0], 2, 3)
    assert record.skip is not None
    assert record.skip.tasks == ("section",)
    assert ("the loss of section" if broken == "loss" else "the gradient") in record.skip.reason
    assert record.losses == {}
    assert {name: list(rows) for name, rows in record.skip.rows.items()} == {
        "section": made.trainer.batcher.draw(2).rows["section"]
    }
    assert re.search(r"sections\.\w+:\d+", record.skip.line()), "rows are named as in errors"
    after = weights(made.model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(value, moments[name]) for name, value in tensors_of(made.trainer)["optimizer"].items())
    assert json.dumps(state_of(made.trainer)) == state


def spoil(made: Plan, task: str) -> None:
    """From now on the loss of a task is not a number."""
    loss = made.tasks[task].loss

    def broken(output: Any, targets: Any) -> Any:
        plain = loss(output, targets)
        return replace(plain, values=plain.values * float("nan"))

    object.__setattr__(made.tasks[task], "loss", broken)


def limited(made: Plan, monkeypatch: pytest.MonkeyPatch, tokens: int) -> list[int]:
    """A model whose memory ends above so many tokens a pack; the sizes it was given."""
    plain, sizes = made.model.forward, list[int]()

    def forward(pack: Any, reads: Any) -> Any:
        sizes.append(pack.tokens)
        if pack.tokens > tokens:
            raise torch.OutOfMemoryError("no room")
        return plain(pack, reads)

    monkeypatch.setattr(made.model, "forward", forward)
    return sizes


@pytest.mark.parametrize("method", ["static", "pcgrad", "uncertainty"])
def test_a_step_out_of_memory_is_done_again_in_packs_half_as_large(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    options = (f"training.balancing={method}", "training.tokens_per_step=400", "training.sampling=proportional")
    options = (*options, "tasks.similarity.objective=cosine")
    made = plan(project, *options)
    largest = max(batch.pack.tokens for batch in made.trainer.batcher.batch(0))
    sizes = limited(made, monkeypatch, largest - 1)
    records = list(made.trainer.run(made.phases[0], 0, 3))
    assert sizes.count(largest) == 1
    assert max(sizes[sizes.index(largest) + 1 :]) <= largest // 2
    [note] = made.trainer.notes
    assert f"a pack of {largest} tokens did not fit" in note
    assert f"at most {largest // 2}. Set training.max_tokens_per_pack to that" in note
    other = plan(project, *options, f"training.max_tokens_per_pack={largest // 2}")
    assert [record.losses for record in other.trainer.run(other.phases[0], 0, 3)] == [r.losses for r in records]
    one, two = weights(made.model), weights(other.model)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_second_failure_in_a_step_ends_the_run_and_names_the_key(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(project)
    limited(made, monkeypatch, 60)
    with pytest.raises(TrainingError, match=r"step 0: packs of \d+ tokens do not fit .* training.max_tokens_per_pack"):
        next(made.trainer.run(made.phases[0], 0, 3))


def test_an_example_that_does_not_fit_alone_ends_the_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(project)
    made.trainer.batcher.max_tokens = 2
    limited(made, monkeypatch, 4)
    with pytest.raises(TrainingError, match=r"one example, does not fit .* encoder.max_length"):
        next(made.trainer.run(made.phases[0], 0, 1))


def test_a_failed_pass_is_let_go_before_the_next_try(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc
    import weakref

    made = plan(project)
    plain, held = made.model.forward, list[weakref.ref[torch.Tensor]]()
    alive: list[bool] = []

    def forward(pack: Any, reads: Any) -> Any:
        outputs = plain(pack, reads)
        if not held:
            hidden = torch.zeros(1)
            held.append(weakref.ref(hidden))
            raise torch.OutOfMemoryError("no room")
        alive.append(held[0]() is not None)
        return outputs

    monkeypatch.setattr(made.model, "forward", forward)
    gc.disable()
    try:
        stepped(made)
    finally:
        gc.enable()
    assert alive
    assert not any(alive)
