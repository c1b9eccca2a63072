"""Axes: ticks at round numbers, everything inside."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.html.figures.scale import round_scale, tight_scale

VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=8)


@given(VALUES)
def test_a_round_scale_holds_all_values_between_its_first_and_last_tick(values: list[float]) -> None:
    scale = round_scale(values)
    slack = 1e-6 * (scale.high - scale.low)
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    assert math.isclose(scale.ticks[0], scale.low, abs_tol=slack)
    assert math.isclose(scale.ticks[-1], scale.high, abs_tol=slack)
    assert 2 <= len(scale.ticks) <= 9


@given(VALUES)
def test_names_of_ticks_differ_and_are_equally_far_apart(values: list[float]) -> None:
    scale = round_scale(values)
    names = [scale.name(tick) for tick in scale.ticks]
    assert len(set(names)) == len(names)
    steps = [b - a for a, b in pairwise(scale.ticks)]
    assert max(steps) - min(steps) <= 1e-6 * max(map(abs, (scale.low, scale.high)))


@given(VALUES)
def test_a_tight_scale_ends_with_its_values_and_has_its_ticks_inside(values: list[float]) -> None:
    scale = tight_scale(values)
    slack = 1e-6 * (scale.high - scale.low)
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in scale.ticks)
    assert 0 <= scale.at(min(values)) <= scale.at(max(values)) <= 1
    if max(values) - min(values) > 1:
        assert (scale.low, scale.high) == (min(values), max(values))


@pytest.mark.parametrize("values", [[], [float("nan")], [0.0], [5.0, 5.0], [1e-300]])
def test_values_that_make_no_axis_get_one_all_the_same(values: list[float]) -> None:
    for scale in (round_scale(values), tight_scale(values)):
        assert scale.low < scale.high
        assert 0 <= scale.at(values[0] if values and values[0] == values[0] else 0.5) <= 1


def test_steps_of_training_have_ticks_at_whole_numbers() -> None:
    assert [tight_scale([0, 7]).name(tick) for tick in tight_scale([0, 7]).ticks] == ["0", "2", "4", "6"]
