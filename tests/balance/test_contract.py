"""What holds for every method: absent tasks, resuming, equal tasks, broken numbers, the order of tasks."""

from __future__ import annotations

import json
import math

import pytest
import torch

from manyheads.balance import BALANCERS, Balancer, build_balancer, options_of
from manyheads.errors import UsageError

THROUGH_TORCHJD = {"upgrad", "mgda", "imtl-g", "aligned-mtl"}
TASKS = {"a": 1.0, "b": 1.0, "c": 1.0}
SUBSETS = [["a", "b", "c"], ["c", "a"], ["b"], ["a", "c", "b"], [], ["b", "c"]]


@pytest.fixture(params=BALANCERS)
def method(request) -> str:
    if request.param in THROUGH_TORCHJD:
        pytest.importorskip("torchjd")
        if request.param == "upgrad":
            pytest.importorskip("quadprog")
    return str(request.param)


def made(method: str, weights: dict[str, float] | None = None) -> Balancer:
    options = {"window": 2.0} if method == "dwa" else {}
    return build_balancer(method, weights or TASKS, 7, options)


def figures(step: int, present: list[str], *, equal: bool = False) -> dict[str, float]:
    """A positive number for each task, falling at different speeds."""
    speed = {"a": 0.1, "b": 0.01, "c": 0.3}
    return {task: math.exp(-(0.1 if equal else speed[task]) * step) for task in present}


def gramian_of(step: int, present: list[str]) -> torch.Tensor:
    draw = torch.Generator().manual_seed(step)
    rows = {task: torch.randn(4, generator=draw, dtype=torch.float64) for task in TASKS}
    matrix_KP = torch.stack([rows[task] for task in present]) if present else torch.zeros(0, 4, dtype=torch.float64)
    return matrix_KP @ matrix_KP.T


def one_step(balancer: Balancer, step: int, present: list[str], *, equal: bool = False) -> dict[str, float]:
    """A trainer's step without a model; the weights it used."""
    losses = figures(step, present, equal=equal)
    used = {task: float(weight.detach()) for task, weight in balancer.weights(step, present).items()}
    if balancer.mode == "gramian":
        gram_KK = torch.ones(len(present), len(present), dtype=torch.float64) if equal else gramian_of(step, present)
        used = dict(zip(present, balancer.combine(step, gram_KK, present).tolist(), strict=True))
    if balancer.mode == "norms":
        norms = figures(step + 1, present, equal=equal) if balancer.wants_norms(step, present) else {}
        balancer.observe_pull(step, figures(step + 2, present, equal=equal), norms)
    if balancer.mode == "last-layer":
        balancer.observe_norms(step, figures(step + 1, present, equal=equal), losses)
    balancer.observe(step, losses)
    if balancer.needs_losses_after:
        balancer.observe_after(step, losses, figures(step + 1, present, equal=equal))
    return used


def test_weights_are_for_the_tasks_present_finite_and_shown(method):
    balancer = made(method)
    for step in range(20):
        present = SUBSETS[step % len(SUBSETS)]
        weights = balancer.weights(step, present)
        assert list(weights) == present
        assert weights == balancer.weights(step, present)
        assert all(weight.ndim == 0 and weight.dtype == torch.float32 for weight in weights.values())
        used = one_step(balancer, step, present)
        assert all(math.isfinite(weight) for weight in used.values())
        assert balancer.shown() == pytest.approx(used)
        json.dumps(balancer.shown())


def test_a_saved_state_goes_on_bit_for_bit(method):
    first = made(method)
    for step in range(9):
        one_step(first, step, SUBSETS[step % len(SUBSETS)])
    resumed = made(method)
    resumed.load_state(json.loads(json.dumps(first.state())))
    for step in range(9, 30):
        present = SUBSETS[step % len(SUBSETS)]
        assert one_step(first, step, present) == one_step(resumed, step, present)
    assert first.state() == resumed.state()


def test_a_state_is_a_copy(method):
    balancer = made(method)
    one_step(balancer, 0, ["a", "b"])
    before = json.dumps(balancer.state())
    state = balancer.state()
    one_step(balancer, 1, ["a", "b"])
    assert json.dumps(state) == before


def test_a_state_of_another_method_or_other_tasks_is_refused(method):
    with pytest.raises(UsageError, match="resume with the method and the tasks it was saved with"):
        made(method).load_state({"somebody": {}})
    balancer = made(method, {"a": 1, "b": 1, "z": 1})
    for key in made(method).state():
        stranger = made(method).state() | {key: {"c": 1.0}}
        with pytest.raises(UsageError, match="'c'"):
            balancer.load_state(stranger)


@pytest.mark.parametrize("static", [TASKS, {"a": 2.0, "b": 2.0, "c": 2.0}], ids=["ones", "twos"])
def test_where_tasks_do_not_differ_the_step_is_the_static_one(method, static):
    if method == "random":
        pytest.skip("differs on purpose")
    balancer = made(method, static)
    for step in range(12):
        used = one_step(balancer, step, ["a", "b", "c"], equal=True)
        if balancer.mode == "gramian":  # of equal gradients only the sum of weights matters
            assert sum(used.values()) == pytest.approx(sum(static.values()), rel=1e-3)
        else:
            assert used == pytest.approx(static, rel=1e-6)


def test_at_the_first_step_losses_have_their_static_weights(method):
    if method == "random":
        pytest.skip("differs on purpose")
    static = {"a": 0.5, "b": 2.0, "c": 0.0}
    weights = made(method, static).weights(0, ["a", "b", "c"])
    assert {task: float(weight.detach()) for task, weight in weights.items()} == static


def test_the_order_of_tasks_does_not_matter(method):
    one, other = made(method), made(method)
    for step in range(12):
        given = one_step(one, step, ["a", "b", "c"])
        assert given == pytest.approx(one_step(other, step, ["c", "a", "b"]), rel=1e-9)


def test_a_task_of_the_run_alone_has_its_static_weight(method):
    balancer = build_balancer(method, {"b": 0.5}, 7, {})
    for step in range(5):
        assert one_step(balancer, step, ["b"]) == pytest.approx({"b": 0.5})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_leave_no_trace(method, bad):
    balancer = made(method)
    for step in range(5):
        one_step(balancer, step, ["a", "b", "c"])
    before = json.dumps(balancer.state())
    good, broken = {"a": 1.0, "b": 2.0}, {"a": 1.0, "b": bad}
    balancer.observe(5, broken)
    balancer.observe_norms(5, broken, good)
    balancer.observe_norms(5, good, broken)
    balancer.observe_pull(5, broken, good)
    balancer.observe_pull(5, good, broken)
    balancer.observe_after(5, broken, good)
    balancer.observe_after(5, good, broken)
    assert json.dumps(balancer.state()) == before


def test_losses_and_norms_of_zero_are_survived(method):
    balancer = made(method)
    zero = dict.fromkeys(TASKS, 0.0)
    for step in range(5):
        balancer.observe_norms(step, zero, zero)
        balancer.observe_pull(step, zero, zero)
        balancer.observe(step, zero)
        balancer.observe_after(step, zero, zero)
    for step in range(5, 10):
        assert all(math.isfinite(weight) for weight in one_step(balancer, step, ["a", "b", "c"]).values())


def gradient_method(method: str) -> Balancer:
    balancer = made(method)
    if balancer.mode != "gramian":
        pytest.skip("balances losses")
    return balancer


def test_a_task_without_a_gradient_is_as_if_absent(method):
    balancer = gradient_method(method)
    gram_KK = torch.zeros(3, 3, dtype=torch.float64)
    gram_KK[:2, :2] = torch.tensor([[1.0, -0.5], [-0.5, 4.0]])
    with_it = balancer.combine(3, gram_KK, ["a", "b", "c"])
    assert torch.equal(with_it[:2], balancer.combine(3, gram_KK[:2, :2], ["a", "b"]))
    only_one = torch.diag(torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64))
    assert balancer.combine(3, only_one, ["a", "b", "c"]).tolist() == [1, 1, 1]
    assert balancer.combine(3, only_one * 0, ["a", "b", "c"]).tolist() == [1, 1, 1]


def test_a_static_weight_of_zero_takes_a_task_out_of_the_sum(method):
    gradient_method(method)
    balancer = made(method, {"a": 0.0, "b": 1.0, "c": 1.0})
    assert one_step(balancer, 0, ["a", "b", "c"])["a"] == 0


def test_weights_do_not_depend_on_the_common_scale_of_gradients(method):
    balancer = gradient_method(method)
    gram_KK = gramian_of(2, ["a", "b", "c"])
    expected = balancer.combine(0, gram_KK, ["a", "b", "c"])
    for scale in (1e-20, 1e-8, 1e12):
        torch.testing.assert_close(
            balancer.combine(0, gram_KK * scale, ["a", "b", "c"]), expected, rtol=1e-3, atol=1e-4
        )


def test_opposite_gradients_give_finite_weights(method):
    balancer = gradient_method(method)
    gram_KK = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert balancer.combine(0, gram_KK, ["a", "b"]).isfinite().all()


def test_a_broken_gramian_gives_static_weights_and_another_shape_is_refused(method):
    balancer = gradient_method(method)
    broken_KK = torch.full((2, 2), float("nan"), dtype=torch.float64)
    assert balancer.combine(0, broken_KK, ["a", "b"]).tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"a Gramian of 1 tasks is square, seen \(2, 2\)"):
        balancer.combine(0, broken_KK, ["a"])


def test_every_option_has_a_default_that_is_valid_and_a_bound(method):
    for option, default in options_of(method).items():
        build_balancer(method, TASKS, 7, {option: default})
        for value in (-1.0, float("nan"), float("inf")):
            with pytest.raises(UsageError, match=rf"balancing by {method}: {option} is .*; give a number"):
                build_balancer(method, TASKS, 7, {option: value})
