"""Weights of labels by their counts: scikit-learn's, and those that undo what chance does to counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import dirichlet_multinomial
from sklearn.utils.class_weight import compute_class_weight

from manyheads.tasks.text_classification import TextClassification
from manyheads.tasks.text_classification.class_weights import balanced, credible


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    counts = [1, 4, 15]
    y_N = np.repeat(np.arange(3), counts)
    np.testing.assert_allclose(balanced(counts), compute_class_weight("balanced", classes=np.arange(3), y=y_N))


@pytest.mark.parametrize("counts", [[1, 2, 9, 30, 3], [4, 7, 1, 90], [1] * 40 + [30, 60, 90]])
def test_the_prior_is_the_likeliest_one(counts: list[int]) -> None:
    total, labels = sum(counts), len(counts)
    found = minimize_scalar(
        lambda log: -dirichlet_multinomial.logpmf(counts, np.full(labels, np.exp(log)), total), (-5, 8), method="brent"
    )
    prior = np.exp(found.x)
    chance_K = (np.array(counts) + prior) / (total + labels * prior)
    np.testing.assert_allclose(credible(counts), chance_K * total / np.array(counts), rtol=0.1)


def test_where_labels_are_equally_common_chance_is_undone() -> None:
    draw = np.random.default_rng(0)
    counts = np.bincount(draw.integers(0, 150, 300), minlength=150)
    known = counts[counts > 0]
    totals = np.array(credible(known.tolist())) * known
    assert totals.max() < 1.2 * totals.min()  # each label weighs about the same, with 1 example or with 6


def test_a_difference_that_is_not_chance_stays() -> None:
    assert credible([5_000, 900, 100]) == ()
    assert credible([400, 400, 400]) == ()
    weights = credible([900, 80, 15, 3, 2])  # a steep fall
    assert all(abs(weight - 1) < 0.4 for weight in weights)


def test_labels_without_examples_weigh_nothing_special() -> None:
    assert credible([]) == credible([3]) == credible([0, 0]) == ()
    weights = credible([1, 2, 6, 0])
    assert weights[3] == 1.0
    assert all(np.isfinite(weights))


def targets(labels: list[int]) -> dict[str, torch.Tensor]:
    """Targets of texts with these labels of four."""
    return {"label_BK": torch.eye(4)[labels]}


@pytest.mark.parametrize("weights", ["auto", "balanced"])
def test_in_a_part_of_the_data_labels_weigh_as_much_in_total_as_in_all_of_it(weights: Any) -> None:
    task = TextClassification(
        name="t", labels=("a", "b", "c", "d"), class_weights=weights, label_weights=(2.0, 1.0, 0.5, 1.0)
    )
    part, held = targets([0, 1, 1, 2]), targets([0, 1, 2, 2, 3])
    assert task.reweighted([part], [part, held]).label_weights == (4.0, 1.5, 1.5, 0.0)


def test_given_weights_stay_and_labels_that_a_part_lacks_weigh_nothing() -> None:
    part, held = targets([0, 1, 1, 2]), targets([0, 1, 2, 2, 3])
    given = TextClassification(
        name="t", labels=("a", "b", "c", "d"), class_weights={"a": 3.0}, label_weights=(3.0, 1.0, 1.0, 1.0)
    )
    assert given.reweighted([part], [part, held]).label_weights == (3.0, 1.0, 1.0, 0.0)
    plain = TextClassification(name="t", labels=("a", "b", "c", "d"))
    assert plain.reweighted([part], [part, held]).label_weights == (1.0, 1.0, 1.0, 0.0)
