"""Phases: ready-made plans, rates, schedules, and what frozen means."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from manyheads.errors import UsageError
from manyheads.training.parts import Part, places_of
from manyheads.training.phases import (
    NAMED_PHASES,
    SMALL_RATE,
    Freeze,
    Phase,
    Rates,
    check_phases,
    named_phases,
    plan_lines,
)
from manyheads.training.plan import Plan
from plans import plan, weights

DEPTHS = (1, 2, 6, 12, 24)
RATES = Rates(1e-4, 1e-3, 0.95)


def parts(depth: int, *tasks: str) -> list[Part]:
    """Parts of an encoder of some depth with heads, a parameter of one number in each."""

    def made(name: str, place: Any, layer: int, owners: tuple[str, ...]) -> Part:
        return Part(name, place, layer, owners, (), (nn.Parameter(torch.zeros(1)),))

    encoder = [made(f"layer {i}", "layer", i, ()) for i in range(depth)]
    heads = [made(f"head {task}", "head", depth, (task,)) for task in tasks or ("a", "b")]
    return [made("embeddings", "embeddings", -1, ()), *encoder, *heads]


def whole(steps: int, **changes: Any) -> Phase:
    return replace(Phase("all", steps, RATES, warmup=round(0.06 * steps)), **changes)


def trained(phase: Phase, depth: int) -> list[str]:
    return [part.name for part in parts(depth) if not phase.freeze.holds(part)]


# Ready-made plans


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", NAMED_PHASES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100, 1001, 30_000])
def test_phases_of_a_ready_made_plan_add_up_and_train_every_head(name: str, depth: int, steps: int) -> None:
    phases = named_phases(name, whole(steps), depth, steps / 3)
    assert sum(phase.steps for phase in phases) == steps
    assert all(phase.steps > 0 for phase in phases)
    assert all(0 <= phase.warmup <= phase.steps for phase in phases)
    check_phases(phases, parts(depth))
    for before, after in itertools.pairwise(phases):
        assert set(trained(before, depth)) <= set(trained(after, depth)), "what is thawed stays thawed"
    assert len({phase.name for phase in phases}) == len(phases)


def test_thirds_of_twelve_layers_freeze_four_thaw_four_in_turn_and_train_four() -> None:
    phases = named_phases("thirds", whole(1000), 12, 300)
    heads = ["head a", "head b"]
    assert [trained(phase, 12) for phase in phases] == [
        [f"layer {i}" for i in range(start, 12)] + heads for start in (8, 7, 6, 5, 4)
    ]  # layers 0 to 3 and the embeddings never, 4 to 7 in turn from the top, 8 to 11 always
    assert [phase.steps for phase in phases] == [200] * 5


@pytest.mark.parametrize(("depth", "starts"), [(1, [0]), (2, [1, 0]), (6, [4, 3, 2]), (24, [*range(16, 7, -1)])])
def test_thirds_scale_to_the_depth(depth: int, starts: list[int]) -> None:
    phases = named_phases("thirds", whole(9000), depth, 3000)
    lowest = [next(i for i in range(depth) if f"layer {i}" in trained(phase, depth)) for phase in phases]
    assert lowest == starts


@pytest.mark.parametrize("depth", DEPTHS)
def test_gradual_trains_heads_then_three_more_layers_at_a_time_then_all_at_a_small_rate(depth: int) -> None:
    first, *middle, last = named_phases("gradual", whole(10_000), depth, 1000)
    assert first.steps == 2000, "two epochs"
    assert trained(first, depth) == ["head a", "head b"]
    thawed = [sum(name.startswith("layer") for name in trained(phase, depth)) for phase in middle]
    assert thawed == [min(depth, 3 * i) for i in range(1, math.ceil(depth / 3) + 1)]
    assert all(f"layer {depth - 1}" in trained(phase, depth) for phase in middle)
    assert all(
        ("embeddings" in trained(phase, depth)) == (count == depth) for phase, count in zip(middle, thawed, strict=True)
    )
    assert trained(last, depth) == [part.name for part in parts(depth)]
    assert (last.rates.base, last.rates.head) == pytest.approx((SMALL_RATE * 1e-4, SMALL_RATE * 1e-3))
    assert all(phase.rates == RATES for phase in (first, *middle))
    assert max(p.steps for p in (*middle, last)) - min(p.steps for p in (*middle, last)) <= 1


def test_the_heads_of_a_short_gradual_run_have_at_most_three_tenths() -> None:
    assert named_phases("gradual", whole(900), 6, 300)[0].steps == 270


def test_heads_then_all_gives_a_fifth_to_the_heads() -> None:
    heads, everything = named_phases("heads-then-all", whole(500, patience=3, curve="cosine"), 6, 100)
    assert (heads.steps, everything.steps) == (100, 400)
    assert (heads.warmup, everything.warmup) == (6, 24)
    assert trained(heads, 6) == ["head a", "head b"]
    assert trained(everything, 6) == [part.name for part in parts(6)]
    assert {phase.patience for phase in (heads, everything)} == {3}
    assert {phase.curve for phase in (heads, everything)} == {"cosine"}


def test_a_phase_that_trains_nothing_and_a_head_that_no_phase_trains_are_refused() -> None:
    nothing = Freeze(encoder=True, heads=frozenset("ab"))
    with pytest.raises(UsageError, match=r"training.phases: phase 'all' trains nothing"):
        check_phases([whole(5), whole(5, freeze=nothing)], parts(2))
    with pytest.raises(UsageError, match=r"training.phases: phase 'all' trains nothing"):
        check_phases([whole(5), whole(5, freeze=Freeze(everything=True))], parts(2))
    one = whole(5, freeze=Freeze(heads=frozenset("b")))
    with pytest.raises(UsageError, match=r"no phase trains the head of 'b'; .* \(heads: a, b\)"):
        check_phases([one, one], parts(2))
    check_phases([one, whole(5, freeze=Freeze(heads=frozenset("a")))], parts(2))


# Rates


@pytest.mark.parametrize("depth", DEPTHS)
def test_rates_fall_by_the_decay_from_layer_to_layer(depth: int) -> None:
    rates = Rates(5e-5, 2e-4, 0.95, {"a": 3.0})
    for part in parts(depth):
        rate = rates.of(part, depth)
        if part.place == "head":
            assert rate == pytest.approx(6e-4 if part.tasks == ("a",) else 2e-4)
        else:
            assert rate == pytest.approx(5e-5 * 0.95 ** (depth - 1 - part.layer))
    top, bottom = parts(depth)[depth], parts(depth)[0]
    assert rates.of(top, depth) == 5e-5
    assert rates.of(bottom, depth) == pytest.approx(5e-5 * 0.95**depth), "embeddings are below layer 0"


@pytest.mark.parametrize("curve", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("steps", "warmup"), [(20, 5), (20, 0), (7, 6), (1, 0), (300, 18)])
def test_schedules_are_those_of_transformers(curve: Any, steps: int, warmup: int) -> None:
    import transformers

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    if curve == "constant":
        theirs = transformers.get_constant_schedule_with_warmup(optimizer, warmup)
    else:
        make = {
            "linear": transformers.get_linear_schedule_with_warmup,
            "cosine": transformers.get_cosine_schedule_with_warmup,
        }
        theirs = make[curve](optimizer, warmup, steps)
    phase = whole(steps, warmup=warmup, curve=curve)
    for step in range(steps + 1):
        if step < warmup:  # theirs starts at 0, and so wastes the first step; ours is one step ahead until the top
            assert phase.factor(step) == pytest.approx((step + 1) / warmup)
        else:
            assert phase.factor(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()
    assert all(phase.factor(step) > 0 for step in range(steps))


# The table


def test_the_plan_says_for_each_phase_what_trains_and_how_fast() -> None:
    phases = [
        whole(1200, name="heads", freeze=Freeze(encoder=True)),
        whole(10, name="gap", freeze=Freeze(layers=frozenset({1})), rates=Rates(1e-4, 1e-4)),
        whole(20, name="all"),
    ]
    assert plan_lines(phases, parts(3), 3) == [
        "phase  steps  trained  learning rates at their highest",
        "heads  1,200        2  head a .. head b 0.001",
        "gap       10        5  embeddings .. layer 0 0.0001, layer 2 .. head b 0.0001",
        "all       20        6  embeddings 8.6e-05, layer 0 9e-05, layer 1 9.5e-05, layer 2 0.0001, head a .. head b 0.001",
    ]


# Frozen

IN_A_PHASE = "training.phases=[{{steps: 3, freeze: {{heads: {}}}}}, {{steps: 1}}]"
"""A head that is frozen all the way is refused: nobody has trained it."""
FROZEN = {
    "encoder": ("training.freeze=encoder", {"embeddings", "layer 0", "layer 1"}),
    "embeddings": ("training.freeze=embeddings", {"embeddings"}),
    "bottom layer": ("training.freeze={layers: 1}", {"embeddings", "layer 0"}),
    "bottom layer, not its embeddings": ("training.freeze={layers: 1, embeddings: false}", {"layer 0"}),
    "a layer by its number": ("training.freeze={layers: [1]}", {"layer 1"}),
    "heads": (IN_A_PHASE.format("[section, answers]"), {"head section", "head answers"}),
    "all layers and a head": (IN_A_PHASE.format("[section], layers: 2"), {"embeddings", "layer 0", "layer 1", "head section"}),
}  # fmt: skip


def parameters_of(made: Plan, names: set[str]) -> set[str]:
    """Names of the parameters of some parts."""
    ids = {id(p) for part in made.trainer.parts if part.name in names for p in part.parameters}
    return {name for name, parameter in made.model.named_parameters() if id(parameter) in ids}


def gradients_seen(made: Plan) -> tuple[set[str], set[str]]:
    """Names of the parameters that steps from here on find with a gradient, and with one that is not all 0."""
    found, pulled = set[str](), set[str]()
    names = {id(p): key for key, p in made.model.named_parameters()}

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        given = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        found.update(names[id(p)] for p in given)
        pulled.update(names[id(p)] for p in given if p.grad.any())

    made.trainer.components.optimizer.register_step_pre_hook(look)
    return found, pulled


def idle(made: Plan, pulled: set[str]) -> set[str]:
    """What is learned of words inside pieces, where there were none."""
    return {name for name, _ in made.model.named_parameters() if ".inner." in name} - pulled


@pytest.mark.parametrize("balancing", ["static", "gradnorm", "pcgrad"])
@pytest.mark.parametrize("name", FROZEN)
def test_frozen_parts_keep_every_bit_and_run_without_dropout(project: Path, name: str, balancing: str) -> None:
    option, parts_frozen = FROZEN[name]
    steps = "training.steps=null" if "phases" in option else "training.steps=3"
    made = plan(project, option, steps, "training.weight_decay=0.5", f"training.balancing={balancing}")
    before = weights(made.model)
    frozen = parameters_of(made, parts_frozen)
    found, pulled = gradients_seen(made)
    list(made.trainer.run(made.phases[0], 0, 3))
    after = weights(made.model)
    assert frozen
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert same - (idle(made, pulled) - frozen) == frozen
    assert not frozen & found
    for part in places_of(made.model):
        for module in part.modules:
            assert {inner.training for inner in module.modules()} == {part.name not in parts_frozen}, part.name


@pytest.mark.parametrize(
    ("option", "lowest"),
    [
        ("training.freeze=encoder", 3), ("training.freeze=embeddings", 0), ("training.freeze={layers: 1}", 1),
        ("training.freeze={layers: [1]}", -1), ("training.freeze={layers: 2}", 3), ("training.seed=0", -1),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "model", ["training.balancing=static", "sharing.shared_layers=1", "training.balancing=gradnorm"]
)
def test_below_the_lowest_part_that_trains_there_is_no_graph(
    project: Path, option: str, lowest: int, model: str
) -> None:
    made = plan(project, option, model)
    seen: dict[int, set[bool]] = {-1: set(), 0: set(), 1: set()}
    encoders = [made.model.encoder, *(branch.encoder for branch in made.model.branches)]
    for encoder in encoders:
        for place, module in enumerate([encoder.embedding_module(), *encoder.layer_modules()], start=-1):

            def look(module: nn.Module, args: Any, out: Any, place: int = place) -> None:
                seen[place].add((out[0] if isinstance(out, tuple) else out).requires_grad)

            module.register_forward_hook(look)
    list(made.trainer.run(made.phases[0], 0, 1))
    assert seen == {place: {place >= lowest} for place in seen}


def test_under_adapters_too_a_frozen_encoder_runs_without_dropout(project: Path) -> None:
    for adapters in ("shared", "per-task"):
        made = plan(project, f"lora={{adapters: {adapters}, layers: [1]}}", "training.freeze=encoder")
        before = weights(made.model)
        list(made.trainer.run(made.phases[0], 0, 2))
        after = weights(made.model)
        assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("heads"))
        for part in places_of(made.model):
            modes = {inner.training for module in part.modules for inner in module.modules()}
            assert modes <= {part.place == "head"}, part.name


def test_neither_momentum_nor_decay_moves_a_part_that_is_frozen_later_and_a_thawed_one_learns_again(
    project: Path,
) -> None:
    phases = "[{steps: 4}, {steps: 4, freeze: {layers: 1, heads: [section]}}, {steps: 4}]"
    made = plan(project, "training.steps=null", f"training.phases={phases}", "training.weight_decay=0.5")
    frozen = parameters_of(made, {"embeddings", "layer 0", "head section"})
    states = [weights(made.model)]
    _, pulled = gradients_seen(made)
    for i, phase in enumerate(made.phases):
        list(made.trainer.run(phase, 4 * i, 4 * i + 4, 4 * i))
        states.append(weights(made.model))
    still = [{key for key in a if torch.equal(a[key], b[key])} - (idle(made, pulled) - frozen)
             for a, b in itertools.pairwise(states)]  # fmt: skip
    assert still == [set(), frozen, set()]


def test_an_evaluation_between_steps_leaves_no_part_in_the_wrong_mode(project: Path) -> None:
    made = plan(project, "training.freeze={layers: 1}")
    made.model.eval()
    list(made.trainer.run(made.phases[0], 0, 1))
    modes = {
        part.name: {m.training for module in part.modules for m in module.modules()} for part in places_of(made.model)
    }
    assert modes["layer 0"] == {False}
    assert modes["layer 1"] == modes["head answers"] == {True}
