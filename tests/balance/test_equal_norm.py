"""Equal norms: what the weights do to K tasks whose gradients differ in size."""

from __future__ import annotations

import json
import math

import pytest

from manyheads.balance.equal_norm import EqualNormBalancer
from manyheads.errors import UsageError

NORMS = {"a": 7.0, "b": 0.2, "c": 1.5, "d": 0.03}


def settled(norms: dict[str, float], weights: dict[str, float] | None = None, steps: int = 40) -> EqualNormBalancer:
    """After steps in which the norms were these, at the heads a tenth of it."""
    balancer = EqualNormBalancer(weights or dict.fromkeys(norms, 1.0))
    for step in range(steps):
        seen = norms if balancer.wants_norms(step, list(norms)) else {}
        balancer.observe_pull(step, {task: norm / 10 for task, norm in norms.items()}, seen)
    return balancer


def used(balancer: EqualNormBalancer, step: int = 100) -> dict[str, float]:
    return {task: float(weight) for task, weight in balancer.weights(step, balancer.tasks).items()}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_weighted_norms_of_all_tasks_are_equal_and_the_step_is_as_long_as_the_static_one(count: int) -> None:
    norms = dict(list(NORMS.items())[:count])
    pulled = [weight * norms[task] for task, weight in used(settled(norms)).items()]
    assert pulled == pytest.approx([pulled[0]] * count, rel=1e-5)
    assert math.hypot(*pulled) == pytest.approx(math.hypot(*norms.values()), rel=1e-5)


def test_static_weights_are_shares_to_pull_with() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 0.5, "d": 0.0}
    given = used(settled(NORMS, weights))
    pulled = {task: given[task] * NORMS[task] for task in NORMS}
    assert pulled["b"] == pytest.approx(2 * pulled["a"], rel=1e-5)
    assert pulled["c"] == pytest.approx(0.5 * pulled["a"], rel=1e-5)
    assert given["d"] == 0
    before = math.hypot(*(weights[task] * NORMS[task] for task in NORMS))
    assert math.hypot(*pulled.values()) == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("scale", [1000.0, 1e-9])
def test_the_scale_of_a_task_s_loss_changes_no_pull(scale: float) -> None:
    plain, other = used(settled(NORMS)), used(settled(NORMS | {"b": scale * NORMS["b"]}))
    for task in "acd":
        assert other["b"] / other[task] * scale == pytest.approx(plain["b"] / plain[task], rel=1e-5)


def test_the_scale_of_a_loss_that_changes_in_the_run_is_followed() -> None:
    balancer = settled(NORMS)
    louder = NORMS | {"b": 1000 * NORMS["b"]}
    for step in range(100, 300):
        seen = louder if balancer.wants_norms(step, list(NORMS)) else {}
        balancer.observe_pull(step, {task: norm / 10 for task, norm in louder.items()}, seen)
    pulled = [weight * louder[task] for task, weight in used(balancer, 300).items()]
    assert pulled == pytest.approx([pulled[0]] * 4, rel=1e-3)


def test_between_looks_the_norms_at_the_heads_stand_for_the_norms() -> None:
    balancer = settled(NORMS, steps=11)
    for step in range(11, 19):
        assert not balancer.wants_norms(step, list(NORMS))
        balancer.observe_pull(step, {"a": 70.0, "b": 0.02, "c": 0.15, "d": 0.003}, {})
    given = used(balancer)
    assert given["a"] / given["b"] < NORMS["b"] / NORMS["a"] / 50, "a became a hundred times louder"
    assert given["c"] / given["b"] == pytest.approx(NORMS["b"] / NORMS["c"], rel=1e-5)


def test_tasks_are_looked_at_in_their_first_steps_and_then_now_and_then() -> None:
    balancer = EqualNormBalancer({"a": 1.0, "b": 1.0, "none": 0.0}, first=3, every=4)
    looked = {"a": [], "b": [], "none": []}
    for step in range(24):
        present = ["a"] if step < 12 else ["b"] if step % 2 else ["a"]
        if balancer.wants_norms(step, present):
            looked[present[0]].append(step)
            balancer.observe_pull(step, dict.fromkeys(present, 1.0), dict.fromkeys(present, 1.0))
    assert looked["a"] == [0, 1, 2, 6, 10, 14, 18, 22]
    assert looked["b"] == [13, 15, 17, 21], "in turns with another it is seen as often"
    assert not balancer.wants_norms(24, ["none"]), "a task without weight is never waited for"


def test_a_task_without_a_shared_gradient_keeps_its_static_weight_and_is_not_looked_at_for_ever() -> None:
    balancer = EqualNormBalancer({"a": 1.0, "b": 3.0}, first=2)
    for step in range(5):
        balancer.observe_pull(step, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 0.0})
    assert used(balancer) == {"a": 1.0, "b": 3.0}
    assert not balancer.wants_norms(5, ["a", "b"])


def test_a_resumed_balancer_gives_the_same_weights_to_the_last_bit() -> None:
    first = settled(NORMS, steps=13)
    again = EqualNormBalancer(dict.fromkeys(NORMS, 1.0))
    again.load_state(json.loads(json.dumps(first.state())))
    assert used(again) == used(first)
    assert all(again.wants_norms(step, ["a"]) == first.wants_norms(step, ["a"]) for step in range(13, 40))


@pytest.mark.parametrize("option", ["first", "every"])
def test_a_part_of_a_step_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"balancing by equal-norm: {option} is 2.5; give a whole number of steps"):
        EqualNormBalancer({"a": 1.0}, **{option: 2.5})
