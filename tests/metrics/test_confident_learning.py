"""Confident learning, against cleanlab."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.metrics.confident_learning import (
    class_thresholds,
    confident_classes,
    confident_joint,
    suspected_labels,
)

cleanlab = pytest.importorskip("cleanlab")
from cleanlab.count import compute_confident_joint, get_confident_thresholds  # noqa: E402
from cleanlab.rank import get_label_quality_scores, order_label_issues  # noqa: E402


def drawn(seed: int, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels of which a third are wrong; every class has a label."""
    draws = np.random.default_rng(seed)
    right = np.concatenate([np.arange(classes), draws.integers(classes, size=rows - classes)])
    chance = draws.dirichlet(np.full(classes, 0.7), rows) + 0.8 * np.eye(classes)[right]
    label = np.where(draws.random(rows) < 1 / 3, draws.integers(classes, size=rows), right)
    label[:classes] = np.arange(classes)
    return chance / chance.sum(-1, keepdims=True), label


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 7))
def test_thresholds_the_confident_joint_and_suspects_are_those_of_cleanlab(seed: int, classes: int) -> None:
    chance, label = drawn(seed, 80, classes)
    threshold = class_thresholds(chance, label)
    np.testing.assert_allclose(threshold, get_confident_thresholds(label, chance))
    joint, suspects = compute_confident_joint(label, chance, calibrate=False, return_indices_of_off_diagonals=True)
    found = confident_joint(label, confident_classes(chance, threshold), classes)
    unsmoothed = found.copy()  # cleanlab counts at least one example on the diagonal of every class
    np.fill_diagonal(unsmoothed, np.maximum(found.diagonal(), 1))
    np.testing.assert_array_equal(unsmoothed, joint)
    assert np.flatnonzero(suspected_labels(chance, label)).tolist() == sorted(suspects)


def test_the_order_by_probability_of_the_label_is_cleanlabs_self_confidence() -> None:
    chance, label = drawn(3, 200, 5)
    quality = get_label_quality_scores(label, chance, method="self_confidence")
    np.testing.assert_allclose(chance[np.arange(200), label], quality)
    every = np.ones(200, bool)
    ours = np.argsort(chance[np.arange(200), label], kind="stable")
    assert ours.tolist() == order_label_issues(every, label, chance, rank_by="self_confidence").tolist()


def test_a_class_without_labels_is_never_confident() -> None:
    chance = np.array([[0.2, 0.1, 0.7], [0.9, 0.1, 0.0]])
    assert class_thresholds(chance, np.array([0, 0]))[2] == 1.0
    assert confident_classes(chance, class_thresholds(chance, np.array([0, 0]))).tolist() == [-1, 0]
