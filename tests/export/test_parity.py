"""Differences between an export and its model."""

from __future__ import annotations

import pytest

from manyheads.errors import UsageError
from manyheads.export.parity import Difference

WINDOWS = ["window", "win"]


@pytest.mark.parametrize("largest", [float("nan"), float("inf"), 2e-4])
def test_a_difference_above_the_limit_or_not_finite_is_refused(largest: float) -> None:
    with pytest.raises(UsageError, match="a/b differs by"):
        Difference(largest, "a/b", 1, 1, 1).check(1e-4, "the graph")


@pytest.mark.parametrize("values", [(float("nan"), 0.5), (0.5, float("nan")), (float("inf"), 0.5), (2.0, float("inf"))])
def test_what_is_not_finite_is_the_largest_difference_wherever_it_is(values: tuple[float, float]) -> None:
    found = Difference.of([(values[0], "a/b"), (values[1], "c/d")], WINDOWS)  # type: ignore[arg-type]
    assert (found.windows, found.shortest, found.longest) == (2, 3, 6)
    with pytest.raises(UsageError, match=r"differs by (nan|inf)"):
        found.check(1e-4, "the graph")
