"""Arrays are read item by item, whatever the blocks they arrive in."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafiles import TEXT, refusal_of, rows_of
from manyheads.data.formats import json_items
from manyheads.data.formats.json_items import items_of
from manyheads.errors import DataError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.long
@settings(deadline=None)
@given(st.lists(values, max_size=8), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_items_and_their_lines_are_those_of_the_array(found, block, indent, ascii_only):
    text = json.dumps(found, indent=indent, ensure_ascii=ascii_only)
    try:
        data = f"\ufeff {text}\n\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return
    before, json_items.BLOCK_BYTES = json_items.BLOCK_BYTES, block
    try:
        made = list(items_of(io.BytesIO(data), "a.json"))
    finally:
        json_items.BLOCK_BYTES = before
    assert [item.value for item in made] == found
    assert [json.loads(item.text) for item in made] == found
    assert [item.number for item in made] == list(range(1, len(found) + 1))
    for item in made:
        if item.line is not None:
            line = f" {text}".split("\n")[item.line - 1]
            assert item.text.split("\n")[0] in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n{"text": "a", "label": "A"},\n{"text" "b"}\n]', "a.json:3 is not valid JSON: Expecting ':' delimiter at column 9"),
        ('[\n{"text": "a", "label": "A"}\n{"text": "b"}]', "a.json:3 needs a comma or ] after item 1, seen '{'; it may be cut off"),
        ('[{"text": "a", "label": "A"}', "a.json:1 needs a comma or ] after item 1, the file ends; it may be cut off"),
        ('[{"text": "a", "label": "A"}]\n[]', "a.json:2 has more data after the end of the array; keep one JSON array per file"),
        ('[{"text": "a", "label": "A"}, 7]', "a.json: item 2 holds a number, not a JSON object; write one {...} with its keys on each line"),
        ('[{"text": "a", "label": "A"},\n{"text": "b', "a.json:2 is not valid JSON: Unterminated string starting at at column 10"),
        ('[{"text": "' + "x" * 5_000_000 + '"}]', "a.json: item 1 is longer than 4 MB; cut its text into parts"),
        ('[{"text": ' + "[" * 200_000, None),
        ('[{"text": "a"}, {"text": ' + "9" * 5000 + "}]", None),
        (b'[\n{"text": "a",\n"label": "\xff"}]', "a.json:3 is not UTF-8: byte 0xff; save the file as UTF-8"),
        ("[]", "a.json has no rows; give a file with data"),
    ],
)  # fmt: skip
def test_a_broken_array_is_refused_with_its_place(write, content, message):
    said = refusal_of(write("a.json", content), TEXT)
    assert said == message if message else said.startswith("a.json: item ")


@pytest.mark.long
def test_memory_does_not_grow_with_the_array():
    def peak(rows: int) -> int:
        data = io.BytesIO(
            b"[" + b",".join(b'{"text": "%06d some words", "label": "A"}' % i for i in range(rows)) + b"]"
        )
        tracemalloc.start()
        assert sum(1 for _ in items_of(data, "a.json")) == rows
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(40_000) < 1.5 * peak(10_000)


def test_an_array_of_rows_trains_any_task(write):
    path = write("a.json", '[\n{"text": "a", "label": "A"},\n{"text": "b", "label": "B"}]')
    assert [(row.values, row.where) for row in rows_of(path, TEXT)] == [
        ({"text": "a", "label": "A"}, "a.json:2"), ({"text": "b", "label": "B"}, "a.json:3"),
    ]  # fmt: skip


def test_an_item_of_another_block_is_told_by_its_own_line():
    with pytest.raises(DataError, match=r"a\.json:3001 is not valid JSON"):
        list(items_of(io.BytesIO(b"[\n" + b'{"text": "a"},\n' * 2999 + b"{]"), "a.json"))
