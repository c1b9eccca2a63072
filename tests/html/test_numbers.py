"""Figures as they are written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.html import numbers


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.points(0.6234), "62.3"),
        (numbers.points(None), "–"),
        (numbers.points(float("nan")), "–"),
        (numbers.difference(-0.012), "−1.20"),
        (numbers.difference(0.0141), "+1.41"),
        (numbers.difference(-0.00001), "0.00"),
        (numbers.interval(-0.02, -0.004), "[−2.00, −0.40]"),
        (numbers.interval(None, 0.1), ""),
        (numbers.probability(0.0304), "0.030"),
        (numbers.probability(0.0002), "< 0.001"),
        (numbers.count(22713216), "22,713,216"),
        (numbers.large(22713216), "22.7 million"),
        (numbers.large(9.4e9), "9.40 billion"),
        (numbers.large(950), "950"),
        (numbers.share(0.362), "36 %"),
        (numbers.share(0.004), "0.4 %"),
        (numbers.share(0), "0 %"),
        (numbers.significant(0.01234), "0.0123"),
        (numbers.significant(12345.6), "12,346"),
        (numbers.significant(-0.5, 2), "−0.50"),
        (numbers.plural(1, "task"), "1 task"),
        (numbers.plural(1200, "step"), "1,200 steps"),
    ],
)
def test_numbers_are_written_with_digits_that_count(shown: str, expected: str) -> None:
    assert shown == expected


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_a_decimal_reads_back_within_half_its_last_place(value: float, places: int) -> None:
    text = numbers.decimal(value, places)
    assert abs(float(text.replace(numbers.MINUS, "-").replace(",", "")) - value) <= 0.5 * 10**-places + 1e-9
    assert "-" not in text
    assert not (text.startswith(numbers.MINUS) and not text.strip("0.,−"))


@given(st.floats(1e-6, 1e9), st.integers(1, 5))
def test_significant_digits_lose_no_more_than_they_say(value: float, digits: int) -> None:
    read = float(numbers.significant(value, digits).replace(",", ""))
    assert math.isclose(read, value, rel_tol=0.5 * 10 ** (1 - digits) + 1e-9)
