"""Calibration against scikit-learn and scipy, thresholds against every threshold there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score

from manyheads.metrics.calibration import (
    BINS,
    FEW_POSITIVES,
    FEW_TEXTS,
    PENALTY,
    Scale,
    class_temperature,
    count_threshold,
    expected_calibration_error,
    f1_threshold,
    fitted_scale,
    label_temperature,
    label_thresholds,
    logit,
    sigmoid,
    softmax,
)


def draw(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(5))
def test_the_calibration_error_is_that_of_scikit_learns_curve(seed: int) -> None:
    random = draw(seed)
    score_N = random.beta(2, 1, 700).round(2 if seed % 2 else 9)
    right_N = random.random(700) < score_N**2
    share_M, mean_M = calibration_curve(right_N, score_N, n_bins=BINS)
    bin_N = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], score_N)
    counts_M = np.bincount(bin_N, minlength=BINS)
    expected = float((np.abs(share_M - mean_M) * counts_M[counts_M > 0]).sum() / len(score_N))
    assert expected_calibration_error(score_N, right_N) == pytest.approx(expected, abs=1e-12)


def test_scores_that_are_always_kept_have_no_calibration_error_and_no_scores_have_none_to_tell() -> None:
    assert expected_calibration_error([0.8] * 5, [1, 1, 1, 1, 0]) == pytest.approx(0)
    assert expected_calibration_error([1.0, 1.0], [0, 0]) == 1
    with pytest.raises(ValueError, match="at least one"):
        expected_calibration_error([], [])
    with pytest.raises(ValueError, match="2 scores for 1"):
        expected_calibration_error([0.1, 0.2], [1])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rows", [12, 400])
def test_temperatures_are_those_that_scipy_finds(seed: int, rows: int) -> None:
    random = draw(seed)
    logits_BK = random.normal(0, 3, (rows, 5)) * random.choice([0.3, 1, 4])
    gold_B = random.integers(0, 5, rows)
    gold_B[: rows // 2] = logits_BK.argmax(-1)[: rows // 2]
    label_BK = np.eye(5)[gold_B]

    def of_classes(power: float) -> float:
        log_BK = log_softmax(logits_BK * np.exp(-power), axis=-1)
        return float(-log_BK[np.arange(rows), gold_B].sum() + PENALTY * power**2)

    def of_labels(power: float) -> float:
        signed_BK = np.where(label_BK > 0, logits_BK, -logits_BK) * np.exp(-power)
        return float(-log_expit(signed_BK).sum() + PENALTY * power**2)

    for found, loss in ((class_temperature(logits_BK, gold_B), of_classes),
                        (label_temperature(logits_BK, label_BK), of_labels)):  # fmt: skip
        best = minimize_scalar(loss, bounds=(-np.log(20), np.log(20)), method="bounded", options={"xatol": 1e-9})
        assert np.log(found) == pytest.approx(best.x, abs=1e-4)


@pytest.mark.parametrize("planted", [0.4, 1.0, 2.5])
def test_a_planted_temperature_is_found_and_a_constant_in_a_row_changes_nothing(planted: float) -> None:
    random = draw(3)
    logits_BK = random.normal(0, 3, (20_000, 4))
    chance_BK = softmax(logits_BK / planted)
    gold_B = (random.random(len(logits_BK))[:, None] > chance_BK.cumsum(-1)).sum(-1).clip(max=3)
    found = class_temperature(logits_BK, gold_B)
    assert found == pytest.approx(planted, rel=0.05)
    assert class_temperature(logits_BK + random.normal(0, 9, (20_000, 1)), gold_B) == pytest.approx(found, rel=1e-4)
    right_B = softmax(logits_BK / found).argmax(-1) == gold_B
    assert expected_calibration_error(softmax(logits_BK / found).max(-1), right_B) < 0.02


def test_a_handful_of_rows_that_are_all_right_does_not_make_a_head_sure() -> None:
    logits_BK = np.tile([1.0, 0.0], (5, 1))
    assert 0.2 < class_temperature(logits_BK, np.zeros(5, np.int64)) < 1
    many = np.tile([1.0, 0.0], (5000, 1))
    assert class_temperature(many, np.zeros(5000, np.int64)) < 0.15


@pytest.mark.parametrize("seed", range(6))
def test_the_scale_of_single_scores_is_the_one_that_scipy_finds(seed: int) -> None:
    random = draw(seed)
    score_N = random.beta(3, 1, 300)
    right_N = random.random(300) < sigmoid(0.6 * logit(score_N) + random.normal())
    found = fitted_scale(score_N, right_N)

    def loss(both: np.ndarray) -> float:
        chance_N = expit(both[0] * logit(score_N) + both[1])
        return float(
            -np.log(np.where(right_N, chance_N, 1 - chance_N)).sum() + PENALTY * ((both[0] - 1) ** 2 + both[1] ** 2)
        )

    slope, bias = minimize(loss, [1.0, 0.0], method="BFGS").x
    assert (1 / found.temperature, found.bias) == pytest.approx((slope, bias), abs=1e-3)
    assert expected_calibration_error(found.applied(score_N), right_N) < 0.1


@given(st.lists(st.floats(0.001, 0.999), min_size=2, max_size=20), st.floats(0.05, 20), st.floats(-5, 5))
def test_a_scale_keeps_the_order_and_can_be_undone(scores: list[float], temperature: float, bias: float) -> None:
    scale = Scale(temperature, bias)
    score_N = np.sort(np.array(scores))
    scaled_N = scale.applied(score_N)
    assert (np.diff(scaled_N) >= 0).all()
    kept = (scaled_N > 1e-6) & (scaled_N < 1 - 1e-6)
    np.testing.assert_allclose(scale.undone(scaled_N)[kept], score_N[kept], atol=1e-4)


@pytest.mark.parametrize("right", [False, True])
def test_scores_that_are_all_wrong_or_all_right_or_upside_down_have_a_scale_all_the_same(right: bool) -> None:
    score_N = np.linspace(0.1, 0.9, 50)
    for right_N in (np.full(50, right), score_N < 0.5 if right else score_N > 0.5):
        scale = fitted_scale(score_N, right_N)
        assert 0.05 <= scale.temperature <= 20
        assert np.isfinite(scale.bias)
        assert (np.diff(scale.applied(score_N)) > 0).all()


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.35, 0.6, 0.9]), st.booleans()), min_size=1, max_size=15),
    st.integers(0, 3),
)
def test_a_threshold_for_f1_is_as_good_as_the_best_of_all(pairs: list[tuple[float, bool]], missed: int) -> None:
    score_N, right_N = (np.array(values) for values in zip(*pairs, strict=True))
    golds = int(right_N.sum()) + missed

    def f1(threshold: float) -> float:
        given_N = score_N >= threshold
        total = int(given_N.sum()) + golds
        return 2 * int((given_N & right_N).sum()) / total if total else 0.0

    found = f1_threshold(score_N, right_N, golds)
    assert f1(found) == max(f1(t) for t in (*score_N, 1.0))
    assert found not in score_N


def test_the_common_threshold_of_labels_has_the_best_micro_f1() -> None:
    random = draw(5)
    score_BK = random.random((60, 6))
    label_BK = (random.random((60, 6)) < 0.1 * score_BK).astype(float)
    assert label_BK.sum(0).max() < FEW_POSITIVES
    common = label_thresholds(score_BK, label_BK)
    assert len(set(common)) == 1
    best = max(f1_score(label_BK, score_BK >= t, average="micro", zero_division=0) for t in score_BK.ravel())
    assert f1_score(label_BK, score_BK >= common, average="micro") == pytest.approx(best)


def test_a_frequent_label_nears_the_threshold_of_its_own_and_a_rare_one_has_the_common_one() -> None:
    random = draw(6)
    score_BK = random.random((4000, 3))
    own = np.array([0.8, 0.3, 0.5])
    label_BK = (score_BK >= own).astype(float)
    label_BK[np.flatnonzero(label_BK[:, 2])[FEW_POSITIVES - 1 :], 2] = 0
    found = label_thresholds(score_BK, label_BK)
    np.testing.assert_allclose(found[:2], own[:2], atol=0.02)
    assert found[2] == f1_threshold(score_BK, label_BK, float(label_BK.sum()))


@pytest.mark.parametrize("texts", [1, 5, FEW_TEXTS - 1])
def test_few_texts_are_given_as_many_labels_as_they_have(texts: int) -> None:
    random = draw(texts)
    score_BK = 0.3 * random.random((texts, 10))
    label_BK = np.eye(10)[random.integers(0, 10, texts)]
    found = label_thresholds(score_BK, label_BK)
    assert int((score_BK >= found).sum()) == texts


def test_nothing_to_find_gives_nothing() -> None:
    assert (label_thresholds(np.full((30, 2), 0.4), np.zeros((30, 2))) == 1).all()
    assert (label_thresholds(np.full((3, 2), 0.4), np.zeros((3, 2))) == 1).all()
    assert count_threshold([0.2, 0.2, 0.1], 1) == pytest.approx(0.15), "equal scores go together"
