"""The sampler: tokens of every step are shared out exactly, in every method, with active steps, stops and new scores."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.data.active_steps import ActiveSteps
from manyheads.data.sampler import METHODS, Sampler, build_sampler
from manyheads.data.shares import Annealed, Difficulty, Fixed, RoundRobin, Temperature, Uniform
from manyheads.errors import UsageError

SIZES = st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 10**10), min_size=1, max_size=8)
ABC = {"a": 90_000, "b": 10_000, "c": 400}
PER_STEP = 512
STEPS = 600
JOINING = {"b": ActiveSteps(start=7), "c": ActiveSteps(stop=310, tokens_per_step=31)}


def made(method: str, active: dict[str, ActiveSteps] | None = None, **options) -> Sampler:
    own = {task for task, steps in (active or {}).items() if steps.tokens_per_step}
    if method == "fixed":
        options.setdefault(
            "shares", {task: share for task, share in zip("abc", (5, 3, 2), strict=True) if task not in own}
        )
    return build_sampler(method, ABC, PER_STEP, steps=STEPS, active_steps=active, **options)


def tokens_of(sampler: Sampler, step: int, tasks=ABC) -> dict[str, int]:
    return {task: sampler.quota(task, step + 1) - sampler.quota(task, step) for task in tasks}


def table(sampler: Sampler, steps: int = STEPS) -> list[dict[str, int]]:
    return [tokens_of(sampler, step) for step in range(steps)]


# Every method


@given(SIZES, st.integers(1, 10**6), st.integers(0, 10**7), st.floats(0, 1), st.floats(1, 1e6))
def test_quotas_add_up_within_a_token_for_each_task_and_never_fall(sizes, tokens_per_step, step, exponent, cap):
    sampler = build_sampler("temperature", sizes, tokens_per_step, steps=10**7, exponent=exponent, cap=cap)
    before = {task: sampler.quota(task, step) for task in sizes}
    after = {task: sampler.quota(task, step + 1) for task in sizes}
    assert 0 <= step * tokens_per_step - sum(before.values()) < len(sizes)
    assert all(before[task] <= after[task] for task in sizes)
    assert all(sampler.quota(task, 0) == 0 for task in sizes)
    shares = sampler.draw(step)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(abs(after[task] - before[task] - tokens_per_step * shares[task]) < 1.01 for task in sizes)


@st.composite
def steps_in_reach(draw) -> ActiveSteps:
    start = draw(st.integers(0, 40))
    stop = draw(st.none() | st.integers(start + 1, start + 60))
    return ActiveSteps(start, stop, draw(st.none() | st.integers(1, 20)))


@settings(deadline=None)
@given(
    st.sampled_from(METHODS),
    st.integers(41, 10**6),
    st.fixed_dictionaries({}, optional={"a": steps_in_reach(), "b": steps_in_reach()}),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.none() | st.floats(0, 1)), max_size=6),
)
def test_every_step_is_shared_out_whatever_the_method_the_active_steps_and_the_changes(
    method, tokens_per_step, active, changes
):
    own = {task for task, steps in active.items() if steps.tokens_per_step}
    shares = {task: 1.0 + i for i, task in enumerate(ABC) if task not in own} if method == "fixed" else None
    sampler = build_sampler(method, ABC, tokens_per_step, steps=100, shares=shares, active_steps=active)
    step = 0
    for later, task, score in changes:
        step += later
        sampler.stop_task(task, step) if score is None else sampler.update_scores({task: score}, step)
    exact = dict.fromkeys(ABC, 0.0)
    for step in range(120):
        drawn, got = sampler.draw(step), tokens_of(sampler, step)
        assert sum(drawn.values()) == pytest.approx(1)
        assert list(drawn) == sampler.active(step)
        assert min(got.values()) >= 0
        assert abs(sum(got.values()) - tokens_per_step) < len(ABC)
        for task in ABC:
            exact[task] += drawn.get(task, 0.0) * tokens_per_step
            assert -1e-3 < exact[task] - sampler.quota(task, step + 1) < 1 + 1e-3
            if task not in drawn:
                assert got[task] == 0
            elif task in own:
                assert got[task] == active[task].tokens_per_step


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("active", [None, JOINING])
def test_the_order_of_the_questions_makes_no_difference(method, active):
    forwards, backwards = made(method, active), made(method, active)
    asked = {(task, step): backwards.quota(task, step) for step in (1900, 599, 257, 256, 255, 8, 7, 0) for task in ABC}
    for (task, step), tokens in reversed(asked.items()):
        assert forwards.quota(task, step) == tokens


@pytest.mark.parametrize("method", METHODS)
def test_a_single_task_gets_every_token(method):
    shares = {"entities": 0.1} if method == "fixed" else None
    sampler = build_sampler(method, {"entities": 12}, 4096, steps=10, shares=shares)
    assert sampler.draw(3) == {"entities": 1.0}
    assert sampler.quota("entities", 10) == 40960


@given(SIZES, st.integers(1, 10**6), st.integers(0, 10**9))
def test_steady_shares_are_one_rounded_down_multiplication(sizes, tokens_per_step, step):
    sampler = build_sampler("temperature", sizes, tokens_per_step, steps=10)
    for task, share in sampler.draw(0).items():
        assert sampler.quota(task, step) == step * tokens_per_step * round(share * 10**6) // 10**6


# One method each


def test_shares_follow_the_square_root_of_size_up_to_the_cap():
    def drawn(tokens, **options):
        return build_sampler("temperature", tokens, 10, steps=9, **options).draw(0)

    assert drawn({"a": 900, "b": 100}) == {"a": 0.75, "b": 0.25}
    assert drawn({"a": 900, "b": 100}, exponent=1) == {"a": 0.9, "b": 0.1}
    assert drawn({"a": 900, "b": 100}, exponent=0) == {"a": 0.5, "b": 0.5}
    assert drawn({"a": 10**9, "b": 1}, cap=4) == {"a": 0.8, "b": 0.2}
    assert drawn({"a": 10**6, "b": 1}, exponent=1, cap=None) == {"a": 0.999999, "b": 0.000001}


def test_the_smallest_share_still_trains():
    sampler = build_sampler("temperature", {"a": 10**10, "b": 1}, 4096, steps=9, exponent=1, cap=1e12)
    assert sampler.draw(0) == {"a": 0.999999, "b": 0.000001}
    assert sampler.quota("b", 1000) == 4


def test_round_robin_gives_whole_steps_in_turn():
    turns = [{task for task, tokens in row.items() if tokens == PER_STEP} for row in table(made("round-robin"), 9)]
    assert turns == [{"a"}, {"b"}, {"c"}] * 3
    assert made("round-robin").draw(1) == {"a": 0.0, "b": 1.0, "c": 0.0}


def test_round_robin_skips_who_is_not_there_and_still_alternates():
    sampler = made("round-robin", {"b": ActiveSteps(start=4, stop=10)})
    turns = [max(row, key=lambda task: row[task]) for row in table(sampler, 12)]
    assert turns == list("acac") + list("bcabca") + list("ac")


def test_uniform_and_fixed_shares_are_as_named():
    assert made("uniform").draw(5) == {"a": 0.333334, "b": 0.333333, "c": 0.333333}
    assert made("fixed", shares={"c": 1, "a": 6, "b": 3}).draw(5) == {"a": 0.6, "b": 0.3, "c": 0.1}
    assert made("fixed", shares={"a": 1, "b": 2, "c": 4}).draw(5) == {"a": 0.142857, "b": 0.285714, "c": 0.571429}


def test_proportional_knows_no_cap():
    assert made("proportional").draw(0)["a"] == pytest.approx(90_000 / 100_400, abs=1e-6)


def test_annealed_exponents_fall_from_one_to_a_fifth_step_by_step():
    shares = Annealed(ABC, steps=5)
    assert [shares.exponent(step) for step in range(6)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert Annealed(ABC, steps=1).exponent(0) == 1


def test_annealed_shares_are_sizes_to_that_power():
    sampler = made("annealed", cap=None)
    for step, exponent in ((0, 1.0), (STEPS - 1, 0.2), (STEPS + 300, 0.2)):
        powers = {task: size**exponent for task, size in ABC.items()}
        expected = {task: power / sum(powers.values()) for task, power in powers.items()}
        assert sampler.draw(step) == pytest.approx(expected, abs=2e-6)
    assert all(later["c"] >= sooner["c"] - 1 for sooner, later in pairwise(table(sampler)))


def test_tasks_further_from_their_best_get_more_within_the_bound():
    even = Difficulty(Temperature(ABC, 0.0), bound=2.0)
    assert even.at(0, ["a", "b", "c"]) == {"a": 1, "b": 1, "c": 1}
    told = even.with_scores({"a": 0.9, "b": 0.7, "c": 0.8})  # gaps 0.1, 0.3 and 0.2; their mean is 0.2
    assert told.at(0, ["a", "b", "c"]) == pytest.approx({"a": 0.5, "b": 1.5, "c": 1.0})
    assert told.at(0, ["a", "c"]) == pytest.approx({"a": 0.1 / 0.15, "c": 0.2 / 0.15})
    assert told.with_scores({"a": 1.0, "c": 0.0}).at(0, ["a", "b", "c"]) == pytest.approx(
        {"a": 0.5, "b": 0.3 / (1.3 / 3), "c": 2}
    )
    assert told.with_scores({"a": 1.0, "b": 1.0, "c": 1.5}).at(0, ["a", "b", "c"]) == {"a": 1, "b": 1, "c": 1}
    assert even.with_scores({"a": 0.5}).at(0, ["a", "b", "c"]) == {"a": 1, "b": 1, "c": 1}


def test_a_target_below_perfection_is_where_a_task_has_arrived():
    shares = Difficulty(Temperature(ABC, 0.0), targets={"a": 0.6}, scores={"a": 0.6, "b": 0.6})
    assert shares.at(0, ["a", "b"]) == pytest.approx({"a": 0.5, "b": 2.0})
    assert Difficulty(shares.base, bound=1.0, scores=shares.scores).at(0, ["a", "b"]) == {"a": 1, "b": 1}


@given(st.dictionaries(st.sampled_from("abc"), st.floats(-1, 2)), st.floats(1, 50))
def test_no_share_moves_by_more_than_the_bound(scores, bound):
    base = Temperature(ABC, 0.5)
    plain, moved = base.at(0, list(ABC)), Difficulty(base, bound, scores=scores).at(0, list(ABC))
    assert all(1 / bound - 1e-9 <= moved[task] / plain[task] <= bound + 1e-9 for task in ABC)


# Active steps


def test_tasks_train_only_in_their_active_steps():
    sampler = made("uniform", {"b": ActiveSteps(start=7), "c": ActiveSteps(stop=3)})
    rows = table(sampler, 20)
    assert [step for step, row in enumerate(rows) if row["c"]] == [0, 1, 2]
    assert [step for step, row in enumerate(rows) if row["b"]] == list(range(7, 20))
    assert sampler.draw(0) == {"a": 0.5, "c": 0.5}
    assert rows[5] == {"a": PER_STEP, "b": 0, "c": 0}


@pytest.mark.parametrize("method", METHODS)
def test_tokens_of_its_own_are_outside_of_the_shares(method):
    sampler, others = made(method, {"c": ActiveSteps(tokens_per_step=112)}), {"a": ABC["a"], "b": ABC["b"]}
    shares = {"a": 5, "b": 3} if method == "fixed" else None
    rest = build_sampler(method, others, PER_STEP - 112, steps=STEPS, shares=shares)
    rows = table(sampler)
    assert [row.pop("c") for row in rows] == [112] * STEPS
    assert rows == [tokens_of(rest, step, others) for step in range(STEPS)]
    assert sampler.draw(0)["c"] == 112 / PER_STEP


def test_tasks_that_all_have_tokens_of_their_own_get_exactly_these():
    active = {"a": ActiveSteps(tokens_per_step=700), "b": ActiveSteps(tokens_per_step=200), "c": ActiveSteps(5, 6, 100)}
    sampler = made("temperature", active)
    assert tokens_of(sampler, 0) == {"a": 700, "b": 200, "c": 0}
    assert tokens_of(sampler, 5) == {"a": 700, "b": 200, "c": 100}
    assert sampler.draw(5) == {"a": 0.7, "b": 0.2, "c": 0.1}


# Changes at run time


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("active", [None, JOINING])
def test_stopping_a_task_changes_the_future_only(method, active):
    untouched, sampler = made(method, active), made(method, active)
    ahead = table(sampler, 400)
    sampler.stop_task("b", 100)
    rows = table(sampler, 400)
    assert rows[:100] == ahead[:100] == table(untouched, 100)
    assert {row["b"] for row in rows[100:]} == {0}
    assert all(abs(sum(row.values()) - PER_STEP) < 3 for row in rows)
    late = made(method, active)
    late.stop_task("b", 100)
    assert table(late, 400) == rows


def test_when_every_task_has_stopped_nothing_is_drawn():
    sampler = made("annealed")
    for i, task in enumerate(ABC):
        sampler.stop_task(task, 10 + i)
    assert list(sampler.draw(10)) == ["b", "c"]
    assert sampler.draw(11) == {"c": 1.0}
    assert sampler.draw(12) == {}
    assert tokens_of(sampler, 5000) == {"a": 0, "b": 0, "c": 0}


def test_told_scores_change_the_future_only():
    sampler, untouched = made("difficulty"), made("difficulty")
    sampler.update_scores({"a": 0.95, "b": 0.5, "c": 0.8}, 50)
    sampler.update_scores({"b": 0.9}, 80)
    assert table(sampler, 50) == table(untouched, 50)
    assert sampler.draw(49) == untouched.draw(0)
    assert sampler.draw(50)["b"] > sampler.draw(80)["b"] > 0
    assert sampler.draw(50) == sampler.draw(79) != sampler.draw(80) == sampler.draw(10**6)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "difficulty"])
def test_scores_are_no_matter_to_other_methods(method):
    sampler = made(method)
    sampler.update_scores({"a": 0.95, "b": 0.5}, 50)
    assert sampler.state() == {"changes": []}
    assert table(sampler, 70) == table(made(method), 70)


def test_changes_are_made_in_the_order_of_their_steps():
    sampler = made("difficulty")
    sampler.update_scores({"a": 0.5}, 50)
    sampler.stop_task("b", 50)
    with pytest.raises(ValueError, match=r"from step 49 on, but there is one from step 50 on already; make changes in"):
        sampler.stop_task("c", 49)
    with pytest.raises(ValueError, match=r"a change from step -1 on; the first step is 0"):
        made("uniform").stop_task("a", -1)


def test_changes_for_unknown_tasks_and_scores_that_are_no_numbers_are_refused():
    sampler = made("difficulty")
    with pytest.raises(ValueError, match=r"there is no task d; the tasks are a, b, c"):
        sampler.stop_task("d", 5)
    with pytest.raises(ValueError, match=r"there is no task d; the tasks are a, b, c"):
        sampler.update_scores({"a": 1.0, "d": 0.5}, 5)
    with pytest.raises(ValueError, match=r"the score of a is nan; give a finite number"):
        sampler.update_scores({"a": math.nan}, 5)
    assert sampler.state() == {"changes": []}


@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_state_gives_the_same_quotas_at_every_step(method):
    sampler, resumed = made(method, JOINING), made(method, JOINING)
    for step in range(20, 320, 20):
        sampler.update_scores({"a": step / 400, "b": 1 - step / 400}, step)
    sampler.stop_task("a", 350)
    resumed.stop_task("b", 3)
    resumed.quota("a", 10)
    resumed.load_state(json.loads(json.dumps(sampler.state())))
    assert table(resumed) == table(sampler)
    assert resumed.state() == sampler.state()


def test_thousands_of_told_scores_are_reached_at_once_after_loading():
    sampler, resumed = made("difficulty"), made("difficulty")
    for step in range(1500):
        sampler.update_scores({"a": step / 1500}, step)
    resumed.load_state(sampler.state())
    assert resumed.quota("a", 10**6) == sampler.quota("a", 10**6)


@pytest.mark.parametrize(
    "state",
    [{}, {"changes": 3}, {"changes": [{"from_step": 3}]}, {"changes": [{"from_step": 1, "stopped": [], "scores": 2}]}],
)
def test_something_else_is_not_taken_for_a_state(state):
    with pytest.raises(ValueError, match=r"not the state of a sampler: .*give what state\(\) returned"):
        made("uniform").load_state(state)


def test_a_state_that_does_not_fit_changes_nothing():
    sampler, other = made("uniform"), build_sampler("uniform", {"x": 1, "y": 2}, PER_STEP, steps=9)
    sampler.stop_task("a", 3)
    other.stop_task("x", 4)
    with pytest.raises(ValueError, match=r"there is no task x; the tasks are a, b, c"):
        sampler.load_state(other.state())
    assert sampler.state()["changes"] == [{"from_step": 3, "stopped": ["a"], "scores": {}}]


# What is refused


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("random", {}, r"no sampling method random; use one of round-robin, uniform, .*, difficulty"),
        ("fixed", {"shares": {"a": 1, "d": 1}}, r"sampling shares: there is no task d; the tasks are a, b, c"),
        ("fixed", {"shares": {"a": 1}}, r"sampling shares: none for b, c; give each task one, or tokens_per_step"),
        ("fixed", {"shares": None}, r"sampling shares: none for a, b, c"),
        ("fixed", {"shares": {"a": 1, "b": 0, "c": 1}}, r"the share of b is 0; give a number above 0"),
        ("fixed", {"shares": {"a": 1, "b": math.nan, "c": 1}}, r"the share of b is nan"),
        ("uniform", {"shares": {"a": 1}}, r"shares are for the method fixed, not uniform"),
        ("temperature", {"exponent": 1.5}, r"the sampling exponent is 1.5; use 0 .* to 1"),
        ("temperature", {"cap": 0.5}, r"the sampling cap is 0.5; use 1"),
        ("annealed", {"cap": math.nan}, r"the sampling cap is nan; use 1"),
        ("difficulty", {"bound": 0.5}, r"the bound of difficulty-driven sampling is 0.5; use 1"),
        ("difficulty", {"targets": {"d": 1}}, r"sampling targets: there is no task d; the tasks are a, b, c"),
        ("difficulty", {"targets": {"a": math.inf}}, r"the target of a is inf; give a finite number"),
        ("uniform", {"active_steps": {"d": ActiveSteps()}}, r"sampling: there is no task d; the tasks are a, b, c"),
        (
            "uniform",
            {"active_steps": {"a": ActiveSteps(5, 5)}},
            r"a starts at step 5 and stops at step 5; .* stop after it starts",
        ),
        ("uniform", {"active_steps": {"a": ActiveSteps(-1)}}, r"a starts at step -1 and stops at step None; let it start at 0"),
        ("uniform", {"active_steps": {"a": ActiveSteps(600)}}, r"a starts at step 600, but training ends after 600 steps"),
        ("uniform", {"active_steps": {"a": ActiveSteps(tokens_per_step=0)}}, r"a has tokens_per_step 0; give at least 1"),
    ],
)
def test_impossible_settings_are_refused_with_the_way_out(method, options, message):
    with pytest.raises(UsageError, match=message):
        build_sampler(method, ABC, PER_STEP, steps=STEPS, **options)


def test_a_share_beside_tokens_of_its_own_is_refused():
    with pytest.raises(UsageError, match=r"sampling: c has a share and tokens_per_step of its own; keep one"):
        made("fixed", {"c": ActiveSteps(tokens_per_step=5)}, shares={"a": 1, "b": 1, "c": 1})


def test_tokens_of_single_tasks_must_leave_some_for_the_others():
    active = {"a": ActiveSteps(tokens_per_step=300), "b": ActiveSteps(start=20, tokens_per_step=212)}
    with pytest.raises(
        UsageError, match=r"from step 20 on, the tokens_per_step of a, b take 512 of the 512 .* none for c"
    ):
        made("temperature", active)
    assert tokens_of(made("temperature", active | {"b": ActiveSteps(start=20, tokens_per_step=211)}), 30)["c"] == 1
    assert made("temperature", active | {"c": ActiveSteps(stop=20)}).draw(20) == {"a": 300 / 512, "b": 212 / 512}


def test_a_run_without_any_task_in_some_step_is_refused():
    active = {"a": ActiveSteps(stop=10), "b": ActiveSteps(stop=12), "c": ActiveSteps(start=20)}
    with pytest.raises(UsageError, match=r"no task is active in steps 12 to 19; let one start earlier or stop later"):
        made("uniform", active)
    with pytest.raises(UsageError, match=r"no task is active in steps 40 to 599;"):
        made("uniform", active | {"c": ActiveSteps(start=8, stop=40)})
    made("uniform", active | {"c": ActiveSteps(start=12, stop=STEPS)})


@pytest.mark.parametrize("tokens", [{}, {"a": 0}, {"a": 5, "b": -1}])
def test_tasks_without_tokens_are_refused(tokens):
    with pytest.raises(
        UsageError, match=r"0 tasks and 10 tokens per step|task . has .* tokens of training data; give it"
    ):
        build_sampler("temperature", tokens, 10, steps=5)


@pytest.mark.parametrize(
    ("shares", "name"),
    [(Fixed({"a": 1}), "Fixed"), (Temperature({"a": 1}), "Temperature"), (Annealed({"a": 1}, 5), "Annealed")],
)
def test_shares_that_do_not_know_a_task_are_refused_when_the_sampler_is_made(shares, name):
    with pytest.raises(ValueError, match=rf"{name} has no share for task 'b'; give it one"):
        Sampler(["a", "b"], shares, tokens_per_step=10)


def test_annealing_over_no_steps_is_refused():
    with pytest.raises(ValueError, match="annealing over 0 steps; give at least one"):
        Annealed(ABC, 0)


@pytest.mark.parametrize("shares", [RoundRobin(), Uniform()])
def test_some_shares_need_no_sizes(shares):
    assert Sampler(["a", "b"], shares, tokens_per_step=10).quota("b", 4) == 20
