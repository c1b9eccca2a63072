from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.errors import RowError
from manyheads.text.joining import between, joined


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("Oslo won , 3 - 1 ( after extra time ) .", "Oslo won, 3 - 1 (after extra time)."),
        ('He said : " I do n\'t know " , twice .', "He said: \"I don't know\", twice."),
        ("Up 3.5 % to $ 20 or 20 €", "Up 3.5% to $20 or 20 €"),
        ("Norway 's coast !", "Norway's coast!"),
        ("l' homme „ Haus “ und » Tor «", "l'homme „Haus“ und »Tor«"),
        ("« oui » , “ yes ”", "«oui», “yes”"),
        ("great :) day :-(", "great :) day :-("),
        ("open [ closed ] ...", "open [closed]..."),
        ("A / B - C & D", "A / B - C & D"),
        ("他 在 上 海 工 作 。", "他在上海工作。"),
        ("他 用 iPhone 拍 了 20 张", "他用iPhone拍了20张"),
        ("the city 上海 is large", "the city 上海 is large"),
        ("「 はい 」 と 言 っ た 。", "「はい」と言った。"),
        ("เชียงใหม่ เป็น เมือง 20 ปี", "เชียงใหม่เป็นเมือง 20 ปี"),
        ("서울 에서 만났다 .", "서울 에서 만났다."),
        ("السلام ، نعم ؟", "السلام، نعم؟"),
        ("यह ठीक है ।", "यह ठीक है।"),
        ("an odd \" quote", "an odd \" quote"),
        ('" it begins', '"it begins'),
        ('it ends "', 'it ends"'),
    ],
)  # fmt: skip
def test_words_are_joined_as_their_script_writes_them(words: str, text: str) -> None:
    found, offsets = joined(words.split())
    assert found == text
    assert [found[start:end] for start, end in offsets] == words.split()


def test_what_a_file_says_of_spaces_decides() -> None:
    assert joined(["can", "not", "(", "x"], [False, None, True, None])[0] == "cannot ( x"
    assert joined(["上", "海"], [True, False])[0] == "上 海"


@pytest.mark.parametrize(
    ("tokens", "space_after", "message"),
    [
        ([], None, "at least one word"),
        ("ab", None, "at least one word"),
        (["a", " "], None, "which is not a word"),
        (["a", 1], None, "which is not a word"),
        (["a", "b"], [True], "a list of 2 booleans"),
        (["a", "b"], [True, "No"], "must hold true or false"),
    ],
)
def test_what_is_no_list_of_words_is_refused(tokens: Any, space_after: Any, message: str) -> None:
    with pytest.raises(RowError, match=message):
        joined(tokens, space_after)


@settings(deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=8).filter(lambda word: bool(word.strip())), min_size=1, max_size=12),
    st.data(),
)
def test_words_stand_at_their_offsets_with_at_most_a_space_between(words: list[str], data: st.DataObject) -> None:
    given_ = data.draw(st.none() | st.lists(st.none() | st.booleans(), min_size=len(words), max_size=len(words)))
    text, offsets = joined(words, given_)
    assert [text[start:end] for start, end in offsets] == words
    ends = [0, *(end for _, end in offsets)]
    gaps = [text[end:start] for end, (start, _) in zip(ends, offsets, strict=False)]
    assert gaps[0] == ""
    assert set(gaps) <= {"", " "}
    assert text.endswith(words[-1])


def test_sentences_of_a_text_follow_as_their_script_has_it() -> None:
    assert between("他来了。", "她走了。") == ""
    assert between("He came.", "She left.") == " "
