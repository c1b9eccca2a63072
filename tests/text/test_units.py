from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.text.joining import joined
from manyheads.text.units import first_units, units
from manyheads.text.words import words


def split(text: str, found: np.ndarray) -> list[str]:
    return [text[start:end] for start, end in found.tolist()]


def test_units_are_words_unless_letters_are_asked_for() -> None:
    text = "Ole\u0301 an 서울에서 👍🏽!"
    assert split(text, units(text)) == ["Ole\u0301", "an", "서울에서", "👍🏽", "!"]
    assert split(text, units(text, "letter")) == ["O", "l", "e\u0301", "a", "n", *"서울에서", "👍🏽", "!"]
    assert split("co\u00adop", units("co\u00adop", "letter")) == ["c", "o", "o", "p"]


def test_words_given_with_a_text_cut_its_units() -> None:
    text, offsets = joined(["We", "do", "n't", "know", "."])
    assert text == "We don't know."
    assert split(text, units(text, given=offsets)) == ["We", "do", "n", "'", "t", "know", "."]
    assert first_units(units(text, given=offsets), offsets).tolist() == [0, 1, 2, 5, 6]


@settings(deadline=None)
@given(
    st.lists(
        st.text(st.sampled_from("abé日ไ1'-.\u0301\u200d\u00ad\x07👍🏽서"), min_size=1, max_size=6),
        min_size=1,
        max_size=8,
    ),
    st.data(),
    st.sampled_from(["word", "letter"]),
)
def test_every_given_word_is_whole_units_of_its_own(given_: list[str], data: st.DataObject, unit: str) -> None:
    touching = data.draw(st.lists(st.booleans(), min_size=len(given_), max_size=len(given_)))
    text, offsets = joined(given_, touching)
    cut = units(text, unit, offsets)  # type: ignore[arg-type]
    assert all(start < end for start, end in cut.tolist())
    assert all(one[1] <= two[0] for one, two in pairwise(cut.tolist()))
    first = first_units(cut, offsets).tolist()
    for (start, end), place in zip(offsets, first, strict=True):
        assert start <= cut[place][0] < end
        assert not any(one < edge < two for one, two in cut.tolist() for edge in (start, end))
    letters = {place for start, end in words(text) for place in range(start, end)}
    covered = {place for start, end in cut.tolist() for place in range(start, end)}
    assert unit == "letter" or letters <= covered
