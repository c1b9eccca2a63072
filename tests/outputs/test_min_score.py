"""What a model is not sure of is left out, by the form of the answer; everything else stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.errors import UsageError
from manyheads.outputs.min_score import check_min_score, filter_by_score

ROW: dict[str, Any] = {
    "id": 3,
    "windows": 1,
    "tasks": {
        "places": [{"start": 0, "end": 4, "text": "Oslo", "score": 0.9}, {"start": 5, "end": 9, "text": "Lima", "score": 0.4}],
        "moods": {"labels": ["glad", "calm"], "scores": {"glad": 0.8, "calm": 0.3, "sad": 0.1}},
        "topic": {"label": "travel", "score": 0.35, "scores": {"travel": 0.35, "food": 0.33}},
        "vector": [0.1, -0.2],
        "no_answer_score": 0.2,
        "nothing": [],
    },
}  # fmt: skip


def test_spans_and_labels_of_several_below_are_left_out_and_nothing_else() -> None:
    left = filter_by_score(ROW, 0.5)
    assert [span["text"] for span in left["tasks"]["places"]] == ["Oslo"]
    assert left["tasks"]["moods"] == {"labels": ["glad"], "scores": ROW["tasks"]["moods"]["scores"]}
    for name in ("topic", "vector", "no_answer_score", "nothing"):
        assert left["tasks"][name] == ROW["tasks"][name]
    assert (left["id"], left["windows"]) == (3, 1)


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_is_left_out_the_higher_the_score_and_twice_is_once(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert filter_by_score(filter_by_score(ROW, low), high) == filter_by_score(ROW, high)
    assert filter_by_score(ROW, 0.0) == ROW


def test_a_row_with_an_error_stays_as_it_is() -> None:
    bad = {"id": 1, "error": {"type": "invalid_row", "message": "has no 'text'"}}
    assert filter_by_score(bad, 0.9) == bad


@pytest.mark.parametrize("given", [-0.1, 1.1, float("nan"), "0.5", True])
def test_a_score_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="min_score must be a number from 0 to 1, seen"):
        check_min_score(given)
    assert check_min_score(None) == 0
    assert check_min_score(1) == 1
