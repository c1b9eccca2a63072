"""The statistics against closed forms and scipy where those exist, and against simulated truth where they do not.

Bounds of simulated shares are three standard errors of the share that is promised, from the number of trials; all draws are
seeded, so nothing fails by chance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import stats

from manyheads.compare.bootstrap import Variance, bootstrap_differences, variance
from manyheads.compare.statistics import Difference, Settings, compare_scores, holm, sign_flip
from manyheads.compare.verdict import every_task_no_worse, judge, seeds_to_settle
from manyheads.metrics import resampling
from manyheads.metrics.evidence import Ranks, Tally

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Pair = tuple[list[Tally], list[Tally]]


def pair_of(difference_SC: np.ndarray, size: float = 10.0) -> Pair:
    """Models whose means differ by just so much in each seed and cluster."""
    sides = []
    for sign in (1, -1):
        columns = [
            (size * (0.5 + sign * difference_C / 2), np.full(len(difference_C), size)) for difference_C in difference_SC
        ]
        sides.append([Tally(np.stack(column, axis=1), "mean") for column in columns])
    return sides[0], sides[1]


def effects(
    rng: np.random.Generator, *, seed: float, taste: float, luck: float, seeds: int = 6, clusters: int = 30
) -> np.ndarray:
    """Differences of seeds (rows) on clusters around 0; spreads of what seeds, clusters and both together add."""
    return (
        seed * rng.normal(size=(seeds, 1))
        + taste * rng.normal(size=(1, clusters))
        + luck * rng.normal(size=(seeds, clusters))
    )


def difference(
    *, mean: float = 0.0, each_seed: float = 1e-5, test_set: float = 1e-6, seeds: int = 6, **more: Any
) -> Difference:
    """As if compared, from the variances alone."""
    parts = Variance(each_seed, test_set, seeds, more.pop("clusters", 100))
    reach, p = parts.half_width(0.05), parts.p_value(abs(mean))
    beyond = [parts.p_value(abs(0.01 + side * mean)) / 2 for side in (1, -1)]
    beyond = [p if 0.01 + side * mean > 0 else 1 - p for p, side in zip(beyond, (1, -1), strict=True)]
    return Difference(
        shared=(0.5 + mean,) * seeds, single=(0.5,) * seeds, mean=mean, low=mean - reach, high=mean + reach, p=p,
        p_equivalent=max(beyond), p_worse=beyond[0], low_one_sided=mean - parts.half_width(0.1), p_sign_flip=0.03, variance=parts, units=1000,
    )  # fmt: skip


# -- against closed forms -----------------------------------------------------------------------------------------------
def test_where_the_test_set_adds_nothing_it_is_the_paired_t_test_over_seeds() -> None:
    seeds = np.array([0.01, 0.03, -0.01, 0.02, 0.015, 0.0])
    found = compare_scores(*pair_of(np.repeat(seeds[:, None], 25, axis=1)), Settings(replicates=200))
    expected = stats.ttest_1samp(seeds, 0)
    interval = expected.confidence_interval(0.95)
    assert (found.mean, found.p) == pytest.approx((seeds.mean(), expected.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    above = stats.ttest_1samp(seeds, 0.01, alternative="less").pvalue
    below = stats.ttest_1samp(seeds, -0.01, alternative="greater")
    assert found.p_equivalent == pytest.approx(max(above, below.pvalue))
    assert (found.p_worse, found.low_one_sided) == pytest.approx((below.pvalue, below.confidence_interval(0.95).low))
    assert found.low_one_sided == pytest.approx(expected.confidence_interval(0.9).low)


def test_where_all_seeds_agree_it_is_the_t_test_over_clusters() -> None:
    clusters = np.random.default_rng(0).normal(0.01, 0.05, size=8)
    found = compare_scores(*pair_of(np.repeat(clusters[None], 6, axis=0)), Settings(replicates=20_000))
    interval = stats.ttest_1samp(clusters, 0).confidence_interval(0.95)
    within = 0.02 * float(interval.high - interval.low)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=within)


@given(
    st.integers(2, 4).flatmap(
        lambda seeds: st.lists(
            st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=3),
            min_size=seeds,
            max_size=seeds,
        )
    )
)
@examples(max_examples=60, deadline=None)
def test_intervals_end_where_differences_end(scores_SC2: list[list[tuple[float, float]]]) -> None:
    sides = [[Tally(np.array([[pair[side], 1.0] for pair in seed]), "mean") for seed in scores_SC2] for side in (0, 1)]
    found = compare_scores(*sides, Settings(replicates=100))
    assert -1 <= found.low <= found.mean <= found.high <= 1


def test_correlations_of_opposite_sign_may_differ_by_two() -> None:
    scores = np.arange(5.0)
    right, wrong = (Ranks(np.arange(5), order, scores) for order in (scores, -scores))
    found = compare_scores([right] * 2, [wrong] * 2, Settings(replicates=100))
    assert found.mean == pytest.approx(2.0)
    assert found.low <= found.mean <= found.high <= 2.0


def test_components_are_those_of_a_crossed_analysis_of_variance() -> None:
    difference_SC = effects(np.random.default_rng(0), seed=0.02, taste=0.1, luck=0.1, clusters=200)
    shared, single = pair_of(difference_SC)
    sample_BS = bootstrap_differences(shared, single, replicates=20_000, seed=0)
    found = variance(difference_SC.mean(1), sample_BS, clusters=200)
    centred_SC = difference_SC - difference_SC.mean(1, keepdims=True)
    between_C = centred_SC.mean(0).var(ddof=1)
    rest = ((centred_SC - centred_SC.mean(0)) ** 2).sum() / (5 * 199)
    assert found.each_seed == pytest.approx(difference_SC.mean(1).var(ddof=1))
    assert found.test_set == pytest.approx((between_C - rest / 6) / 200, rel=0.03)


def test_samples_use_the_same_clusters_for_both_models_and_all_seeds() -> None:
    rng = np.random.default_rng(0)
    counts_C2 = np.stack([rng.random(50), np.ones(50)], axis=1)
    models = [Tally(counts_C2 * [0.5, 1.0] + [step / 100, 0.0], "mean") for step in range(3)]
    sample_BS = bootstrap_differences(models, list(reversed(models)), replicates=300, seed=0)
    assert np.abs(sample_BS - [[-0.02, 0.0, 0.02]]).max() < 1e-12


def test_samples_do_not_depend_on_how_many_fit_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, single = pair_of(effects(np.random.default_rng(0), seed=0.01, taste=0.1, luck=0.1))
    whole_BS = bootstrap_differences(shared, single, replicates=103, seed=4)
    assert (bootstrap_differences(shared, single, replicates=103, seed=5) != whole_BS).any()
    monkeypatch.setattr(resampling, "CELLS", 300)
    assert bootstrap_differences(shared, single, replicates=103, seed=4) == pytest.approx(whole_BS, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
@examples(max_examples=100, deadline=None)
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values: list[float], alpha: float) -> None:
    rejected = set()
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] * (len(p_values) - place) >= alpha:
            break
        rejected.add(index)
    adjusted = holm(p_values)
    assert {i for i, p in enumerate(adjusted) if p < alpha} == rejected
    assert all(one >= other for one, other in zip(adjusted, p_values, strict=True))
    assert max(adjusted) <= 1


def test_holm_takes_no_tasks_and_refuses_what_is_no_probability() -> None:
    assert holm([]) == ()
    for wrong in (1.2, -0.1, float("nan")):
        with pytest.raises(ValueError, match="must be between 0 and 1"):
            holm([0.5, wrong])


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=7))
@examples(max_examples=40, deadline=None)
def test_sign_flips_are_the_permutation_test_of_scipy(values: list[int]) -> None:
    seeds = np.array(values, np.float64)  # whole numbers: scipy takes sums that differ in rounding for different
    expected = stats.permutation_test(
        (seeds,),
        lambda x, axis: np.abs(x.sum(axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=10_000,
    )
    assert sign_flip(seeds) == pytest.approx(expected.pvalue)


def test_six_seeds_of_one_sign_can_reach_one_in_twenty_and_five_cannot() -> None:
    assert sign_flip(np.full(6, 0.01)) == 2 / 64
    assert sign_flip(np.full(5, 0.01)) == 2 / 32 > 0.05
    many = np.random.default_rng(0).normal(0.003, 0.01, size=20)
    assert sign_flip(many) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.02)


def test_exchanging_the_models_mirrors_everything_and_nothing_is_left_to_chance() -> None:
    shared, single = pair_of(effects(np.random.default_rng(0), seed=0.01, taste=0.05, luck=0.1) + 0.01)
    there, back = compare_scores(shared, single, Settings()), compare_scores(single, shared, Settings())
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))
    assert (there.p, there.p_equivalent) == pytest.approx((back.p, back.p_equivalent))
    assert compare_scores(shared, single, Settings()) == there
    assert (there.p < 0.05) == (not there.low <= 0 <= there.high)


# -- against simulated truth --------------------------------------------------------------------------------------------
def bounds(share: float, trials: int) -> tuple[float, float]:
    reach = 3 * (share * (1 - share) / trials) ** 0.5
    return share - reach, share + reach


def compared(trials: int, mean: float = 0.0, **spreads: Any) -> Iterator[Difference]:
    rng = np.random.default_rng(1)
    for _ in range(trials):
        yield compare_scores(*pair_of(effects(rng, **spreads) + mean), Settings(replicates=200))


@pytest.mark.long
@pytest.mark.parametrize(
    "spreads",
    [
        {
            "seed": 0.02,
            "taste": 0.0,
            "luck": 0.01,
        },  # seeds decide: normal quantiles or drawn seeds would cover 87 to 89 %
        {"seed": 0.0, "taste": 0.0, "luck": 0.2},  # only luck: seeds and clusters drawn together would cover 99.8 %
        {
            "seed": 0.001,
            "taste": 0.1,
            "luck": 0.01,
            "clusters": 8,
        },  # the test set decides: seeds alone would cover 20 %
        {"seed": 0.02, "taste": 0.1, "luck": 0.1, "clusters": 20},
    ],
    ids=["seeds", "luck", "few clusters", "all"],
)
def test_intervals_hold_the_truth_as_often_as_they_say(spreads: dict[str, Any]) -> None:
    trials = 1000
    covered = sum(found.low <= 0 <= found.high for found in compared(trials, **spreads)) / trials
    low, high = bounds(0.95, trials)
    assert low <= covered <= min(high, 0.97)


@pytest.mark.long
def test_a_difference_as_large_as_the_margin_is_called_equivalent_once_in_twenty_at_most() -> None:
    trials = 600
    found = compared(trials, mean=0.01, seed=0.005, taste=0.01, luck=0.02)
    share = sum(one.p_equivalent < 0.05 for one in found) / trials
    assert 0.01 < share <= bounds(0.05, trials)[1]


def test_a_task_that_is_worse_by_the_margin_is_called_no_worse_once_in_twenty_at_most() -> None:
    trials = 600
    found = compared(trials, mean=-0.01, seed=0.005, taste=0.01, luck=0.02)
    share = sum(one.p_worse < 0.05 for one in found) / trials
    assert 0.01 < share <= bounds(0.05, trials)[1]


@pytest.mark.long
def test_over_four_tasks_without_a_difference_one_comparison_in_twenty_says_otherwise_at_most() -> None:
    trials = 300
    found = list(compared(4 * trials, seed=0.02, taste=0.02, luck=0.02))
    tasks = [{str(i): one for i, one in enumerate(found[start : start + 4])} for start in range(0, len(found), 4)]
    wrong = sum(any(one.verdict in ("helps", "hurts") for one in judge(four, Settings()).values()) for four in tasks)
    alone = sum(any(one.p < 0.05 for one in four.values()) for four in tasks)
    assert wrong / trials <= bounds(0.05, trials)[1] < 0.1 < alone / trials


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("sharing_simulation")


@pytest.mark.parametrize(
    "name", ["f1 conll2003, seed effect 1 point", "macro_f1 sections", "answer_f1 squad, no seed effect"]
)
def test_on_the_clusters_of_real_test_sets_intervals_hold_and_verdicts_are_seldom_wrong(
    simulation: ModuleType, name: str
) -> None:
    scenario = next(one for one in simulation.scenarios() if one.name == name)
    trials = 120
    row = simulation.measure(
        scenario,
        {scenario.structure: simulation.cluster_sizes(scenario.structure, None)},
        trials=trials,
        replicates=200,
        rivals=0,
    )
    assert row["coverage"] >= bounds(0.95, trials)[0]
    assert row["false"] <= bounds(0.05, trials)[1]


# -- degenerate cases ---------------------------------------------------------------------------------------------------
def test_equal_answers_everywhere_are_equivalent_where_there_are_enough_of_them() -> None:
    for clusters, verdict in ((40, "equivalent"), (20, "inconclusive")):  # 400 and 200 units; 0.99**299 is 0.05
        found = compare_scores(*pair_of(np.zeros((6, clusters))), Settings())
        assert (found.mean, found.p, found.p_sign_flip) == (0.0, 1.0, 1.0)
        assert found.low == -found.high == pytest.approx(0.05 ** (1 / (10 * clusters)) - 1)
        judgement = judge({"task": found}, Settings())["task"]
        assert judgement.verdict == verdict
    assert judgement.seeds_needed is None
    assert judgement.why.endswith("all runs agree, but 200 examples are too few; test on more.")


def test_the_same_difference_everywhere_is_as_sure_as_its_signs() -> None:
    found = compare_scores(*pair_of(np.full((6, 300), 0.25)), Settings())
    assert (found.p, found.p_equivalent) == (2**-5, 1.0)
    assert found.mean == pytest.approx(0.25)
    assert found.low < 0.25 < found.high


def test_one_seed_speaks_of_the_test_set_and_gives_no_verdict_by_default() -> None:
    clusters = np.random.default_rng(0).normal(0.1, 0.05, size=(1, 50))
    found = compare_scores(*pair_of(clusters), Settings())
    interval = stats.ttest_1samp(clusters[0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=0.05)
    judgement = judge({"task": found}, Settings())["task"]
    assert (judgement.verdict, judgement.seeds_needed) == ("inconclusive", 6)
    assert "one seed does not show how much seeds vary; run 6 or more" in judgement.why
    assert judge({"task": found}, Settings(least_seeds=1))["task"].verdict == "helps"


def test_one_cluster_speaks_of_the_seeds_and_gives_no_verdict() -> None:
    seeds = np.random.default_rng(0).normal(0.1, 0.01, size=(6, 1))
    found = compare_scores(*pair_of(seeds), Settings())
    assert found.p == pytest.approx(stats.ttest_1samp(seeds[:, 0], 0).pvalue)
    judgement = judge({"task": found}, Settings())["task"]
    assert (judgement.verdict, judgement.seeds_needed) == ("inconclusive", None)
    assert "the test set is a single cluster" in judgement.why
    found = compare_scores(*pair_of(seeds[:1]), Settings())
    assert (found.low, found.high, found.p, found.p_equivalent) == (-1, 1, 1, 1)
    assert judge({"task": found}, Settings(least_seeds=1))["task"].verdict == "inconclusive"


# -- verdicts -----------------------------------------------------------------------------------------------------------
def test_verdicts_follow_the_adjusted_p_values() -> None:
    tasks = {
        "better": difference(mean=0.03), "worse": difference(mean=-0.03),
        "same": difference(each_seed=1e-6), "open": difference(mean=-0.008, each_seed=1e-4),
        "spared": difference(mean=0.008, each_seed=1e-4),
    }  # fmt: skip
    found = judge(tasks, Settings())
    assert [one.verdict for one in found.values()] == ["helps", "hurts", "equivalent", "inconclusive", "no worse"]
    assert [one.no_worse for one in found.values()] == [True, False, True, False, True]
    assert [one.p_worse_holm for one in found.values()] == list(holm([one.p_worse for one in tasks.values()]))
    assert [one.p_holm for one in found.values()] == list(holm([one.p for one in tasks.values()]))
    assert [one.p_equivalent_holm for one in found.values()] == list(holm([one.p_equivalent for one in tasks.values()]))
    assert [one.seeds_needed is None for one in found.values()] == [True, True, True, False, True]
    assert found["better"].why == "Shared is better than alone: +3.0 points, 95 % interval +2.6 to +3.4."
    assert found["same"].why == "Shared and alone differ by less than 1 point: 0.0 points, 95 % interval −0.2 to +0.2."
    assert found["spared"].why == (
        "Shared is worse than alone by less than 1 point, if at all: +0.8 points, 95 % interval −0.3 to +1.9, "
        "above −0.04 by a one-sided bound."
    )
    assert f"about {found['open'].seeds_needed} seeds would settle it" in found["open"].why


def test_a_small_difference_that_is_sure_is_a_help_that_does_not_matter() -> None:
    found = judge({"task": difference(mean=0.003, each_seed=1e-6, test_set=1e-8)}, Settings())["task"]
    assert found.verdict == "helps"
    assert found.p_equivalent_holm < 0.05
    assert found.why.endswith("; surely by less than 1 point.")


def test_a_p_value_that_holm_takes_back_gives_no_verdict() -> None:
    borderline = difference(mean=-0.02, each_seed=2.5e-4)
    assert 0.02 < borderline.p < 0.05
    others = {str(i): difference(mean=-0.011, each_seed=1e-3) for i in range(3)}
    assert judge({"task": borderline}, Settings())["task"].verdict == "hurts"
    assert judge({"task": borderline, **others}, Settings())["task"].verdict == "inconclusive"


def test_no_worse_is_the_margin_against_the_lower_end_of_the_interval_of_90_percent() -> None:
    for mean in (-0.009, -0.004, 0.0, 0.004):
        for each_seed in (1e-6, 1e-5, 1e-4, 1e-3):
            one = difference(mean=mean, each_seed=each_seed)
            found = judge({"task": one}, Settings())["task"]
            assert found.no_worse == (one.low_one_sided > -0.01)
            assert found.no_worse or found.verdict in ("inconclusive", "hurts")


def test_a_task_that_is_hurt_by_less_than_matters_is_no_worse() -> None:
    found = judge({"task": difference(mean=-0.003, each_seed=1e-6, test_set=1e-8)}, Settings())["task"]
    assert (found.verdict, found.no_worse) == ("hurts", True)


def test_all_tasks_are_no_worse_when_each_is_by_its_own_test() -> None:
    each = difference(mean=-0.004, each_seed=3.5e-5)
    tasks = {str(i): each for i in range(4)}
    assert 0.0125 < each.p_worse < 0.05
    found = judge(tasks, Settings())
    assert not any(one.no_worse for one in found.values()), "Holm asks more of each of four"
    assert every_task_no_worse(found, Settings())
    for other in (difference(mean=-0.02), difference(mean=0.1, seeds=1)):  # worse; one seed, which shows nothing
        assert not every_task_no_worse(judge({**tasks, "other": other}, Settings()), Settings())


@pytest.mark.parametrize(("mean", "test_set"), [(-0.008, 1e-7), (-0.002, 4e-6), (-0.03, 1e-5)])
def test_as_many_seeds_as_are_named_settle_it_in_four_cases_of_five(mean: float, test_set: float) -> None:
    seen = difference(mean=mean, each_seed=4e-4, test_set=test_set)
    seeds = seeds_to_settle(seen, alpha=0.05, alpha_worse=0.05, settings=Settings())
    assert seeds is not None
    assert seeds > 6
    rng, trials = np.random.default_rng(0), 2000
    settled = 0
    for _ in range(trials):
        parts = replace(
            seen.variance, seeds=seeds, each_seed=4e-4 * rng.chisquare(seeds - 1) / (seeds - 1),
            test_set=test_set * rng.chisquare(99) / 99,
        )  # fmt: skip
        point = rng.normal(mean, (4e-4 / seeds + test_set) ** 0.5)
        settled += abs(point) > parts.half_width(0.05) or point - parts.half_width(0.1) > -0.01
    assert settled / trials == pytest.approx(0.8, abs=0.06) or seeds < 20  # few seeds come in whole steps


def test_a_test_set_that_is_too_small_is_said_to_be() -> None:
    found = judge({"task": difference(mean=0.005, test_set=1e-4)}, Settings())["task"]
    assert (found.verdict, found.seeds_needed) == ("inconclusive", None)
    assert "the test set is too small" in found.why
    found = judge({"task": difference(mean=0.0099, each_seed=1.0, test_set=1e-9)}, Settings())["task"]
    assert found.seeds_needed is None
    assert "more than 1,000 seeds would be needed" in found.why


@pytest.mark.parametrize(("mean", "each_seed"), [(-0.008, 1e-4), (-0.03, 3e-3), (0.0, 4e-4)])
def test_more_tasks_that_are_undecided_need_more_seeds(mean: float, each_seed: float) -> None:
    one = difference(mean=mean, each_seed=each_seed)
    alone = judge({"task": one}, Settings())["task"].seeds_needed
    among = judge({str(i): one for i in range(5)}, Settings())["0"].seeds_needed
    assert alone is not None
    assert among is not None
    assert 6 < alone < among


def test_a_judgement_is_json_with_the_keys_of_the_report() -> None:
    shared, single = pair_of(effects(np.random.default_rng(0), seed=0.01, taste=0.05, luck=0.1))
    found = judge({"task": compare_scores(shared, single, Settings())}, Settings())["task"].to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {"shared", "single", "difference", "verdict", "seeds_needed", "why", "clusters"} <= set(found)
    assert {"mean", "low", "high", "p", "p_holm", "p_equivalent", "p_sign_flip"} <= set(found["difference"])
    assert (len(found["shared"]), len(found["single"]), found["clusters"]) == (6, 6, 30)


# -- refusals -----------------------------------------------------------------------------------------------------------
def test_what_cannot_be_compared_is_refused_with_what_was_seen() -> None:
    shared, single = pair_of(np.zeros((2, 5)))
    cases: Sequence[tuple[Pair, str]] = [
        (([], []), "0 shared models but 0 single ones"),
        ((shared, single[:1]), "2 shared models but 1 single ones; give one of each for every seed"),
        (
            (shared, pair_of(np.zeros((2, 4)))[0]),
            "different test sets: 4 clusters with 40 units and 5 clusters with 50 units",
        ),
    ]
    for models, message in cases:
        with pytest.raises(ValueError, match=message):
            compare_scores(*models, Settings())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"level": 95}, "level is 95; give a fraction"), ({"margin": 0}, "margin is 0"), ({"power": 1.0}, "power is 1.0"),
        ({"replicates": 10}, "replicates is 10; give 100 or more"), ({"least_seeds": 0}, "least_seeds is 0; give 1 or more"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)
