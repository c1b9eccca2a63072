"""Windows: every token is read, each belongs to one window, and neighbours overlap as asked."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.errors import UsageError
from manyheads.text.pack import Source
from manyheads.text.windows import owned, windows
from tokenized import CHARACTERS, ROOM, columns, loaded, relaxed

texts = st.text(st.sampled_from(CHARACTERS), max_size=40) | st.text(
    st.sampled_from("ab c. é"), min_size=20, max_size=120
)


@relaxed
@given(texts, st.none() | texts, st.integers(0, 12), st.integers(0, 20))
def test_windows_cover_every_token_and_each_has_one_owner(
    family: Path, first: str, second: str | None, stride: int, slack: int
) -> None:
    tokenizer = loaded(family)
    pair = second is not None
    limit = tokenizer.special_tokens(pair) + 1 + pair + slack
    source = Source(first, second, stride)
    found = tokenizer.encode([source], limit)[0]
    single = tokenizer.encode([source], ROOM)[0][0]
    assert tokenizer.lengths([source], limit) == [[len(window) for window in found]]
    assert [window.window for window in found] == list(range(len(found)))
    for part in range(1 + pair):
        every = single.start_L[single.part_L == part]
        for window in found:
            inside = window.start_L[window.part_L == part]
            assert inside.tolist() == every[window.first_token[part] :][: len(inside)].tolist()
    assert (len(found) == 1) == (len(single) <= limit)
    for window in found:
        assert len(window) <= limit
        special = window.part_L == -1
        assert columns(window, special) == columns(single, single.part_L == -1)
        assert window.part_L[~special].tolist() == sorted(window.part_L[~special].tolist())
    for part in range(1 + pair):
        slices = owned(found, part)
        merged = [row for window, own in zip(found, slices, strict=True) for row in columns(window, own)]
        assert merged == columns(single, single.part_L == part)
        for window, own in zip(found, slices, strict=True):
            assert set(window.part_L[own].tolist()) <= {part}


@given(st.integers(0, 60), st.integers(0, 60), st.integers(2, 30), st.integers(0, 40))
def test_window_arithmetic(first: int, second: int, room: int, stride: int) -> None:
    plan = windows(first, second, room, stride)
    assert all(one + two <= room for _, one, _, two in plan)
    assert (len(plan) == 1) == (first + second <= room)
    for total, begin, length in ((first, 0, 1), (second, 2, 3)):
        ranges = [(window[begin], window[begin] + window[length]) for window in plan]
        assert ranges[0][0] == 0
        assert ranges[-1][1] == total
        assert len({end - start for start, end in ranges}) == 1
        size = ranges[0][1] - ranges[0][0]
        overlaps = [one[1] - two[0] for one, two in pairwise(ranges)]
        assert all(overlap >= min(stride, size // 2) for overlap in overlaps)
        assert all(two[0] >= one[0] for one, two in pairwise(ranges))
    if first <= room // 2:
        assert all(window[1] == first for window in plan), "a short first part is whole in every window"


def test_the_overlap_is_exact_but_for_the_last_window() -> None:
    assert windows(25, 0, 10, 4) == [(0, 10, 0, 0), (6, 10, 0, 0), (12, 10, 0, 0), (15, 10, 0, 0)]
    assert windows(3, 12, 9, 2) == [(0, 3, 0, 6), (0, 3, 4, 6), (0, 3, 6, 6)]
    assert windows(12, 3, 9, 2) == [(0, 6, 0, 3), (4, 6, 0, 3), (6, 6, 0, 3)]
    assert windows(12, 30, 10, 1) == [(k * 7 // 7, 5, min(4 * k, 25), 5) for k in range(8)]
    assert windows(20, 0, 10, 64) == [(0, 10, 0, 0), (5, 10, 0, 0), (10, 10, 0, 0)], "at most half of a window"
    assert windows(3, 0, 1, 64) == [(0, 1, 0, 0), (1, 1, 0, 0), (2, 1, 0, 0)], "no room for an overlap"


def test_a_negative_overlap_is_refused() -> None:
    with pytest.raises(UsageError, match="windows cannot overlap by -1 tokens; give 0 or more"):
        windows(6, 0, 4, -1)


def test_owners_have_the_most_context_and_the_earlier_wins_a_tie(families: dict[str, Path]) -> None:
    tokenizer = loaded(families["bert"])
    text = " ".join("abcdefghijklmno")
    found = tokenizer.encode([Source(text, stride=4)], 10)[0]  # windows of 8: tokens 0-7, 4-11, 7-14
    assert owned(found, 0) == [slice(1, 7), slice(3, 7), slice(4, 9)]
    place: dict[int, list[tuple[int, int]]] = {token: [] for token in range(15)}
    for k, window in enumerate(found):
        for position in np.flatnonzero(window.part_L == 0).tolist():
            place[int(window.start_L[position]) // 2].append((min(position - 1, 8 - position), -k))
    owner = {
        start // 2: k
        for k, (window, own) in enumerate(zip(found, owned(found, 0), strict=True))
        for start in window.start_L[own].tolist()
    }
    assert owner == {token: -max(choices)[1] for token, choices in place.items()}


def test_equal_tokens_at_one_place_have_one_owner_each(families: dict[str, Path]) -> None:
    tokenizer = loaded(families["roberta"])
    text = "\U0001f9d1\U0001f9d1\U0001f9d1\U0001f9d1"  # several byte tokens for a character, all with its offsets
    found = tokenizer.encode([Source(text, stride=2)], 7)[0]
    single = tokenizer.encode([Source(text)], ROOM)[0][0]
    assert len(found) > 2
    merged = [row for window, own in zip(found, owned(found, 0), strict=True) for row in columns(window, own)]
    assert merged == columns(single, single.part_L == 0)


def test_the_question_of_a_pair_is_owned_by_its_first_window(families: dict[str, Path]) -> None:
    found = loaded(families["roberta"]).encode([Source("who?", "a b c d e f g h i j k l", stride=2)], 14)[0]
    slices = owned(found, 0)
    assert len(found) > 2
    assert slices[0].stop - slices[0].start == int((found[0].part_L == 0).sum())
    assert all(own.start == own.stop for own in slices[1:])
    assert owned(found[:1], 1) == [slice(*np.flatnonzero(found[0].part_L == 1)[[0, -1]] + [0, 1])]
    assert owned([], 0) == []


def test_a_very_long_run_is_read_in_windows(family: Path) -> None:
    tokenizer = loaded(family)
    source = Source("x" * 10_000)
    found = tokenizer.encode([source], 128)[0]
    merged = [row for window, own in zip(found, owned(found, 0), strict=True) for row in columns(window, own)]
    assert merged[0][2] == 0
    assert merged[-1][3] == 10_000
    assert tokenizer.lengths([source], 128)[0] == [len(window) for window in found]
