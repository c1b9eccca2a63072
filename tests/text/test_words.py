from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyheads.text.pack import Encoding, Source
from manyheads.text.tokenizer import Tokenizer
from manyheads.text.windows import owned
from manyheads.text.words import first_pieces, places_in_pieces, tidy_offsets, within, words

CHARACTERS = "aäbñ\u0301 \n.,-_(日ガーのกำ👩\u200d🚀👍🏽️❤🇩🇪\x00\u200b\u00adשम\u094d\u1112\u1161½１\ud800©ℹ٣"


ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@cache
def loaded(family: Path) -> Tokenizer:
    return Tokenizer.load(family)


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\r\n\u3000", []),
        ("Aspirin (100 mg/day).", ["Aspirin", "(", "100", "mg", "/", "day", ")", "."]),
        ("IL-2 snake_case x2", ["IL", "-", "2", "snake", "_", "case", "x2"]),
        ("5±2€ µg", ["5", "±", "2", "€", "µg"]),
        ("cafe\u0301 café", ["cafe\u0301", "café"]),
        ("日本語abc中", ["日", "本", "語", "abc", "中"]),
        ("コーヒー々ｶﾞ", ["コ", "ー", "ヒ", "ー", "々", "ｶﾞ"]),
        ("か\u3099き", ["か\u3099", "き"]),
        ("ที่นี่ ๑๒", ["ที่", "นี่", "๑๒"]),
        ("한국어 \u1112\u1161\u11ab", ["한국어", "\u1112\u1161\u11ab"]),
        ("क्षत्रिय नमस्ते", ["क्षत्रिय", "नमस्ते"]),
        ("שלום, مرحبا", ["שלום", ",", "مرحبا"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("hyphen\u00adation\u00ad \u200babc\u200bdef", ["hyphen\u00adation", "abc", "def"]),
        ("\ufeffabc\u200e", ["abc"]),
        ("a\x00b\x1fc\x85d", ["a", "b", "c", "d"]),
        ("one\r\ntwo", ["one", "two"]),
        ("👍👍🏽", ["👍", "👍🏽"]),
        ("👩‍🚀👨‍👩‍👧", ["👩‍🚀", "👨‍👩‍👧"]),
        ("❤️‍🔥❤️", ["❤️‍🔥", "❤️"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        (f"{ENGLAND}.", [ENGLAND, "."]),
        ("1️⃣ #️⃣", ["1️⃣", "#️⃣"]),
        ("\u0301abc", ["\u0301abc"]),
        ("x\ufffdy\ud800z", ["x", "\ufffd", "y", "z"]),
        ("\U000f0000", ["\U000f0000"]),
    ],
)  # fmt: skip
def test_a_text_has_these_words(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@given(st.text(st.sampled_from(CHARACTERS) | st.characters(), max_size=40))
def test_words_are_in_order_apart_and_leave_out_only_separators(text: str) -> None:
    found = words(text)
    assert all(start < end for start, end in found)
    assert all(one[1] <= two[0] for one, two in pairwise(found))
    assert not any(c.isspace() for word in split(text) for c in word)
    covered = {place for start, end in found for place in range(start, end)}
    left = "".join(c for place, c in enumerate(text) if place not in covered)
    assert regex.fullmatch(r"[\p{Z}\p{Cc}\p{Cf}\p{Cs}]*", left)


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_ascii_texts_have_the_words_that_they_have_among_others(text: str) -> None:
    assert words(text + "\n日")[:-1] == words(text)


@pytest.mark.parametrize(
    ("text", "given_", "expected"),
    [
        (" a ", [(0, 3)], [(1, 2)]),
        ("a\r\nb", [(0, 1), (1, 2), (2, 3), (3, 4)], [(0, 1), (1, 1), (2, 2), (3, 4)]),
        ("a b", [(0, 1), (2, 2), (2, 3)], [(0, 1), (1, 1), (2, 3)]),
        (" a", [(0, 0), (0, 2)], [(0, 0), (1, 2)]),
        ("a\u0301\u0302 b", [(0, 1), (1, 2), (3, 5)], [(0, 3), (1, 3), (4, 5)]),
        ("a \u0301", [(0, 2), (2, 3)], [(0, 1), (2, 3)]),
        ("ｶﾞ", [(0, 1), (1, 2)], [(0, 2), (1, 2)]),
        ("👩\u200d🚀", [(0, 1), (1, 2), (2, 3)], [(0, 3), (1, 3), (2, 3)]),
        ("👍🏽\u200d🚀!", [(0, 1), (4, 5)], [(0, 4), (4, 5)]),
        ("a\u200d🚀", [(0, 1), (2, 3)], [(0, 1), (2, 3)]),
        ("می\u200cخ", [(0, 2), (3, 4)], [(0, 2), (3, 4)]),
        ("abcd", [(2, 3), (0, 1), (3, 4)], [(2, 3), (2, 3), (3, 4)]),
        ("\ud800 x", [(0, 2)], [(0, 1)]),
        ("", [], []),
    ],
)
def test_offsets_are_tidied(text: str, given_: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    texts = [" ", text, "\u0301\u200d🚀 "]  # neighbours in the batch that must not be touched
    counts = [1, len(given_), 1]
    starts, ends = np.array([(0, 1), *given_, (0, 4)], np.int32).T
    found = list(zip(*(array.tolist() for array in tidy_offsets(texts, counts, starts, ends)), strict=True))
    assert found == [(0, 0), *expected, (0, 3)]


def window(offsets: list[tuple[int, int]], parts: list[int], number: int = 0) -> Encoding:
    starts, ends = np.array(offsets, np.int32).reshape(-1, 2).T
    nothing = np.zeros(len(parts), np.int32)
    return Encoding(nothing, nothing, starts, ends, np.array(parts, np.int8), number)


def test_first_pieces_are_the_first_tokens_that_start_inside() -> None:
    encoding = window([(0, 0), (0, 3), (3, 5), (7, 8), (7, 8), (9, 9), (10, 12), (0, 0)], [-1, 0, 0, 0, 0, 0, 0, -1])
    assert first_pieces([(0, 5), (5, 6), (7, 8), (10, 11), (11, 12)], encoding).tolist() == [1, 2, 3, 6, 6]
    assert first_pieces(np.array([[0, 5], [7, 8]]), encoding).tolist() == [1, 3]
    assert first_pieces([], encoding).tolist() == []
    assert first_pieces([(0, 5)], encoding, part=1).tolist() == [-1]
    assert first_pieces([(0, 5)], window([(0, 0)], [-1])).tolist() == [0]


def test_first_pieces_of_a_context_are_looked_for_in_its_part() -> None:
    encoding = window([(0, 0), (0, 3), (0, 0), (0, 2), (3, 6), (0, 0)], [-1, 0, -1, 1, 1, -1])
    assert first_pieces([(0, 2), (3, 6)], encoding, part=1).tolist() == [3, 4]
    assert first_pieces([(0, 3)], encoding).tolist() == [1]


def test_a_word_that_the_left_edge_cuts_is_left_to_the_window_before() -> None:
    offsets = [(0, 0), (3, 5), (6, 8), (0, 0)]
    assert first_pieces([(0, 5), (6, 8)], window(offsets, [-1, 0, 0, -1], 1)).tolist() == [-1, 2]
    assert first_pieces([(0, 5), (6, 8)], window(offsets, [-1, 0, 0, -1], 0)).tolist() == [1, 2]
    assert first_pieces([(3, 5), (6, 8)], window(offsets, [-1, 0, 0, -1], 1)).tolist() == [1, 2]


Spoken = tuple[int, int, int]
"""Id and start of the token that speaks for a word, and the word's place in it."""


def spoken(tokenizer: Tokenizer, source: Source, limit: int) -> list[list[Spoken]]:
    """For each word what speaks for it among the tokens that their windows own."""
    offsets = np.array(words(source.first), np.int64).reshape(-1, 2)
    seen: list[list[Spoken]] = [[] for _ in offsets]
    encodings = tokenizer.encode([source], limit)[0]
    for encoding, own in zip(encodings, owned(encodings, 0), strict=True):
        mine = np.zeros(len(encoding), bool)
        mine[own if (encoding.part_L == 0).any() else slice(None)] = True
        reached = within(offsets, encoding)
        piece_N = first_pieces(offsets[reached], encoding)
        place_N = places_in_pieces(offsets[reached], piece_N, encoding)
        for word, (piece, place) in enumerate(zip(piece_N.tolist(), place_N.tolist(), strict=True), reached.start):
            if piece >= 0 and mine[piece]:
                seen[word].append((int(encoding.ids_L[piece]), int(encoding.start_L[piece]), place))
    return seen


def speaker(encoding: Encoding, start: int, end: int) -> int:
    """The first token inside a word, else the last one before it, else the first of the text, else of the window."""
    tokens = np.flatnonzero(encoding.part_L == 0).tolist()
    inside = [i for i in tokens if start <= encoding.start_L[i] < end]
    before = [i for i in tokens if encoding.start_L[i] <= start]
    return next(iter(inside or before[-1:] or tokens), 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.text(st.sampled_from("abc AB12.,-é日👍\u0301\ufffd\U000f0000\n "), max_size=60),
    st.integers(1, 6),
    st.integers(2, 12),
)
def test_over_windows_each_word_is_spoken_for_once_by_an_owned_token(
    family: Path, text: str, stride: int, room: int
) -> None:
    tokenizer, found = loaded(family), words(text)
    whole = tokenizer.encode([Source(text)], 100_000)[0][0]
    naive = [speaker(whole, start, end) for start, end in found]
    piece_N = first_pieces(found, whole)
    assert piece_N.tolist() == naive
    place_N = places_in_pieces(found, piece_N, whole)
    assert len({*zip(naive, place_N.tolist(), strict=True)}) == len(found), "two words of one piece at one place"
    expected = [
        [(int(whole.ids_L[i]), int(whole.start_L[i]), place)] for i, place in zip(naive, place_N.tolist(), strict=True)
    ]
    limit = tokenizer.special_tokens(pair=False) + room
    assert spoken(tokenizer, Source(text, stride=stride), limit) == expected


def test_windows_that_only_meet_find_a_cut_word_once(families: dict[str, Path]) -> None:
    tokenizer = loaded(families["bert"])
    pieces = spoken(tokenizer, Source("Zzzzzz aspirin zzzzz", stride=0), 4)
    assert [len(seen) for seen in pieces] == [1, 1, 1]
    assert [seen[0][1] for seen in pieces] == [0, 7, 15]


def test_every_word_of_a_text_has_a_first_piece(family: Path) -> None:
    text = "Cafe\u0301 naïve (Zürich), 日本 👍🏽 क्ष it's 5 mg/day."
    found = words(text)
    piece_N = first_pieces(found, loaded(family).encode([Source(text)], 512)[0][0])
    assert (piece_N >= 0).all()
    assert (np.diff(piece_N) > 0).all()


@given(
    st.integers(1, 12),
    st.integers(1, 10),
    st.sampled_from(["metformin lowers glucose, 5 % (n=20).", "a b c", "日本 東京 x1"]),
)
def test_no_word_beyond_the_reach_of_a_window_has_a_piece_in_it(size: int, shift: int, text: str) -> None:
    """Windows over pieces of two characters."""
    offsets = np.array(words(text), np.int64).reshape(-1, 2)
    pieces = [(i, min(i + 2, stop)) for start, stop in words(text) for i in range(start, stop, 2)]
    for number, begin in enumerate(range(0, len(pieces), shift)):
        seen = pieces[begin : begin + size]
        before = pieces[begin - 1][0] if begin else -1
        after = pieces[begin + size][0] if begin + size < len(pieces) else -1
        encoding = replace(window(seen, [0] * len(seen), number), before=before, after=after)
        reached = within(offsets, encoding)
        whole = first_pieces(offsets, encoding)
        assert first_pieces(offsets[reached], encoding).tolist() == whole[reached].tolist()
        assert (np.delete(whole, range(reached.start, reached.stop)) == -1).all()
