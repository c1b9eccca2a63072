"""Measures of uncertainty: bounds, extremes, and independent formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as shannon

from manyheads.metrics.uncertainty import disagreement, entropy, margin, sequence_uncertainty


def chances(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1])


@given(seed=st.integers(0, 10_000), units=st.integers(1, 6), alternatives=st.integers(2, 9))
def test_all_measures_lie_between_0_and_1(seed: int, units: int, alternatives: int) -> None:
    chance = chances(seed, 3, units, alternatives)
    for values in (entropy(chance[0]), margin(chance[0]), disagreement(chance), sequence_uncertainty(chance[0])):
        assert (np.asarray(values) >= -1e-9).all()
        assert (np.asarray(values) <= 1 + 1e-9).all()


@given(seed=st.integers(0, 10_000), alternatives=st.integers(2, 9))
def test_entropy_and_disagreement_are_those_of_scipy(seed: int, alternatives: int) -> None:
    chance = chances(seed, 2, 5, alternatives)
    np.testing.assert_allclose(entropy(chance[0]), shannon(chance[0], axis=-1) / np.log(alternatives))
    expected = jensenshannon(chance[0], chance[1], axis=-1) ** 2 / np.log(2)
    np.testing.assert_allclose(disagreement(chance), expected, atol=1e-9)


@pytest.mark.parametrize("measure", [entropy, margin])
def test_a_coin_flip_is_the_most_uncertain_and_certainty_the_least(measure: object) -> None:
    assert measure(np.array([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]])) == pytest.approx(  # type: ignore[operator]
        [1.0, *measure(np.array([[0.9, 0.1]])), 0.0],
        abs=1e-9,  # type: ignore[operator]
    )


def test_equal_models_do_not_disagree_however_unsure_they_are() -> None:
    chance = chances(1, 4, 3)
    assert disagreement(np.stack([chance, chance])) == pytest.approx(np.zeros(4), abs=1e-9)


def test_repeating_a_sequence_does_not_change_its_length_normalised_uncertainty() -> None:
    chance = chances(2, 4, 3)
    assert sequence_uncertainty(np.tile(chance, (3, 1))) == pytest.approx(sequence_uncertainty(chance))
