"""JSON from strangers: what is read, what is refused, and that nothing is said in Python's words."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.data.strict_json import is_deeper, read_json

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(plain)
def test_json_is_read_as_it_was_meant(value: Any) -> None:
    assert read_json(json.dumps(value).encode(), 50) == value


def test_whole_numbers_of_thousands_of_digits_and_byte_order_marks_are_read() -> None:
    assert read_json(b"9" * 4000, 50) == 10**4000 - 1
    assert read_json(b"\xef\xbb\xbf{}", 50) == {}


@pytest.mark.parametrize(("data", "complaint"), [
    (b"", "is not valid JSON: Expecting value"), (b"{", "is not valid JSON: Expecting property name"),
    (b"NaN", "is not valid JSON: NaN is not a number"), (b"[-Infinity]", "-Infinity is not a number"),
    (b"-1e999", "-1e999 is too large a number"), (b"\xff", "is not UTF-8 (byte 1)"), ('{"a": 1}'.encode("utf-16"), "is not UTF-8"),
    (b"9" * 5000, "is not valid JSON: a number has 5,000 digits, too many; send it as a string"),
    (b'{"id": -' + b"9" * 12_345 + b"}", "a number has 12,345 digits"),
    (b"[" * 51 + b"]" * 51, "has lists or objects nested in more than 50 levels"),
    (b'{"a":' * 990 + b"1" + b"}" * 990, "nested in more than 50 levels"), (b"[" * 100_000, "nested in more than 50 levels"),
])  # fmt: skip
def test_what_cannot_be_read_is_told_in_our_own_words(data: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has) ") as refused:
        read_json(data, 50)
    assert complaint in str(refused.value)
    assert len(str(refused.value)) < 150
    assert not any(word in str(refused.value) for word in ("Exceeds", "sys.", "recursion", "decoding", "utf-8-sig"))


@given(st.binary(max_size=40))
def test_any_bytes_are_json_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        read = read_json(data, 50)
        assert json.loads(data) == read


@given(plain, st.integers(1, 4))
def test_levels_are_those_of_lists_and_objects_in_one_another(value: Any, levels: int) -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert is_deeper(value, levels) == (depth(value) > levels)
