"""Figures: where marks stand, and that nothing but positions depends on the data."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from manyheads.html.figures.bars import Bar, bars
from manyheads.html.figures.forest import Estimate, forest
from manyheads.html.figures.lines import MAX_POINTS, Line, Titles, lines, thinned
from manyheads.html.figures.marks import legend, series_class
from manyheads.html.figures.matrix import Matrix, diverging_matrix, sequential_matrix
from manyheads.html.figures.shares import Layers, stacked
from manyheads.html.markup import user_text
from manyheads.html.numbers import count


def test_the_forest_puts_marks_in_the_order_of_their_values_and_intervals_around_them() -> None:
    rows = [Estimate(user_text(n), "", "", v, v - 1, v + 1) for n, v in (("a", -2.0), ("b", 0.5), ("c", 3.0))]
    drawn = forest(rows, "three", axis="points", sides=("worse", "better"), band=(-1, 1))
    places = [float(x) for x in re.findall(r'<svg x="([\d.]+)%" y="[\d.]+" class="at"', drawn)]
    assert places == sorted(places)
    ends = [(float(a), float(b)) for a, b in re.findall(r'x1="([\d.]+)%" x2="([\d.]+)%" [^>]*class="interval', drawn)]
    long = [(a, b) for a, b in ends if a != b]
    assert all(a < at < b for at, (a, b) in zip(places, long, strict=True))
    assert drawn.count('class="band"') == 3
    assert drawn.count('class="zero"') == 3


def test_an_estimate_without_an_interval_or_value_is_a_row_without_marks() -> None:
    drawn = forest([Estimate(user_text("a"), "", "–", None)], "none", axis="points")
    assert 'class="at"' not in drawn
    assert "interval" not in drawn


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-10, 10)), min_size=1, max_size=400), st.integers(1, 90))
def test_thinning_keeps_the_mean_of_equal_groups_and_the_order(points: list[tuple[float, float]], most: int) -> None:
    points.sort()
    kept = thinned(points, most)
    assert len(kept) == min(most, len(points))
    assert all(a[0] <= b[0] for a, b in pairwise(kept))
    assert min(y for _, y in points) - 1e-9 <= min(y for _, y in kept)


def test_lines_of_many_steps_have_few_marks_and_few_points() -> None:
    series = [Line(f"task {k}", thinned([(x, x * k) for x in range(10_000)])) for k in range(3)]
    drawn = lines(series, "many", Titles("step", "loss"))
    assert drawn.count('class="at"') <= 3 * 10
    traces = re.findall(r'points="([^"]+)"', drawn)
    assert all(len(trace.split()) == MAX_POINTS for trace in traces)


def test_a_single_point_is_a_mark_without_a_line() -> None:
    drawn = lines([Line("a", [(3, 0.5)]), Line("b", [])], "one", Titles("step", "score"))
    assert "polyline" not in drawn
    assert drawn.count('class="at"') == 1


def test_series_beyond_the_colours_differ_by_hollow_marks() -> None:
    names = [f"task {k}" for k in range(12)]
    assert len({series_class(k) for k in range(12)}) == 12
    assert legend(names).count("hollow") == 6


@given(st.lists(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), min_size=2, max_size=20))
def test_shares_of_a_place_add_up_to_one_whatever_the_amounts(amounts_: list[list[float]]) -> None:
    layers = Layers(["a", "b", "c"], list(range(len(amounts_))), amounts_)
    assert all(abs(sum(row) - 1) < 1e-9 for row in layers.shares())
    assert stacked(layers, "shares", "step").count("<polygon") == 3


def test_a_matrix_frames_its_diagonal_and_shades_by_row() -> None:
    drawn = sequential_matrix(Matrix(["a", "b"], ["a", "b"], [[8, 1], [0, 100]], "x"), "matrix", count, diagonal=True)
    assert re.findall(r'<td class="([^"]+)">(\d+)', drawn) == [
        ("q6 diagonal", "8"), ("q1", "1"), ("q0", "0"), ("q6 diagonal", "100"),
    ]  # fmt: skip


def test_negative_and_positive_numbers_have_other_colours_and_unknown_ones_none() -> None:
    drawn = diverging_matrix(Matrix(["a"], ["p", "q", "r", "s"], [[-1.0, 0.5, 0.0, None]], "x"), "m", str, largest=1.0)
    assert re.findall(r'<td class="([^"]+)">', drawn) == ["corner", "n6", "p3", "q0", "none"]


def test_bars_are_as_long_as_their_amounts_and_none_divides_by_zero() -> None:
    drawn = bars([Bar("a", "", 5, "5"), Bar("b", "", 20, "20")], "bars")
    assert re.findall(r'width="([\d.]+%)" class="bar"', drawn) == ["25%", "100%"]
    assert 'width="0%"' in bars([Bar("a", "", 0, "0")], "bars")
