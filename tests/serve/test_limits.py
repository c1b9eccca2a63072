"""What a row may be, and how its tokens are estimated."""

from __future__ import annotations

import time
from typing import Any

import pytest

from manyheads.errors import RowError
from manyheads.serve.limits import Limits, estimated_tokens


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("row", [
    {"text": "a"}, {"text": ""}, {"text": "a " * 400_000}, {"id": None, "text": "a"}, {"id": {"a": [1, 2]}, "text": "é𝔘"},
    {"tokens": ["a", "b"]}, {"text": 5}, {}, {"text": "a", "id": nested(49)},
])  # fmt: skip
def test_rows_within_the_limits_pass(row: dict[str, Any]) -> None:
    Limits().check_row(row)


@pytest.mark.parametrize(("row", "complaint"), [
    ({"text": "a " * 600_000}, "'text' has 1,200,000 characters"),
    ({"context": "a " * 600_000, "question": "?", "text": "a"}, "'context' has"),
    ({"tokens": ["aaa"] * 300_000}, "'tokens' has"),
    ({"text": "a" * 20_001}, "without white space"),
    ({"text": "\ud800"}, "half of a surrogate pair"),
    ({"id": "\udc00", "text": "a"}, "half of a surrogate pair"),
    ({"id": nested(60), "text": "a"}, "more than 50 levels"),
    ({str(i): "" for i in range(101)}, "has 101 keys"),
])  # fmt: skip
def test_rows_beyond_them_are_refused_with_what_was_seen(row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RowError, match=complaint):
        Limits().check_row(row)


def test_the_worst_text_is_looked_at_in_less_than_a_second() -> None:
    row = {"text": " ".join(["a" * 19_999] * 50)}
    started = time.process_time()
    Limits().check_row(row)
    assert time.process_time() - started < 1, "a search for the run by trying each start takes minutes"


def test_tokens_are_estimated_from_all_texts_but_the_id() -> None:
    assert estimated_tokens({"text": "a" * 299}) == 103
    assert estimated_tokens({"text": "a" * 299, "question": "b" * 299, "id": "c" * 1000}) == 203
    assert estimated_tokens({"tokens": ["abc"] * 100}) > 100
    assert estimated_tokens({}) == 3
