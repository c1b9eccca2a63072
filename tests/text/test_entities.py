from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.errors import RowError
from manyheads.text.entities import followed, misfits, shift, spanned_example, tagged_example
from manyheads.text.words import words


def span(start: int, end: int, label: str = "X") -> dict[str, Any]:
    return {"start": start, "end": end, "label": label}


def test_white_space_at_the_edges_of_a_span_is_left_out_and_counted() -> None:
    example = spanned_example("Ana Ruiz saw Tromso. \u200b", [span(0, 9), span(12, 19), span(19, 22)], "")
    assert [example.text[start:end] for start, end, _ in example.spans] == ["Ana Ruiz", "Tromso", "."]
    assert example.trimmed == ((0, 9), (12, 19), (19, 22))
    assert misfits(example, "word") == []


def test_an_edge_inside_a_word_stays_and_is_a_misfit() -> None:
    example = spanned_example("Die Nordbank am Tromsower See", [span(4, 8), span(16, 22)], "")
    assert [(found.gold, found.answer) for found in misfits(example, "word")] == [
        ("Nord", "Nordbank"), ("Tromso", "Tromsower"),
    ]  # fmt: skip
    assert misfits(example, "letter") == []


def test_two_spans_in_one_word_are_both_out_of_reach() -> None:
    example = spanned_example("Nordbank", [span(0, 4), span(4, 8)], "")
    assert [found.gold for found in misfits(example, "word")] == ["Nord", "bank"]
    assert misfits(example, "letter") == []


def test_a_flag_or_a_joined_emoji_is_not_trimmed_apart() -> None:
    flag = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    assert spanned_example(f"in {flag} ", [span(3, 11)], "").spans == ((3, 10, "X"),)


@pytest.mark.parametrize(
    ("text", "spans", "message"),
    [
        ("a b", [span(1, 2)], "is ' ', which contains no word"),
        ("🙂 hi Ana", [span(6, 9)], None),
        (
            "🙂🙂 Ana",
            [span(5, 8)],
            "outside its text of 6 characters or is empty; the offsets of this row count UTF-16",
        ),
        ("für Ana", [span(5, 8)], "outside .*; the offsets of this row count bytes"),
        ("🙂 Ana Ruiz", [{**span(3, 6), "text": "Ana"}], "says 'Ana' but the text there is 'na '; .* count UTF-16"),
    ],
)
def test_a_span_that_cannot_be_meant_is_refused_with_what_may_be_wrong(
    text: str, spans: Any, message: str | None
) -> None:
    if message is None:
        spanned_example(text, [span(5, 8)], "")
        return
    with pytest.raises(RowError, match=message):
        spanned_example(text, spans, "")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["Ana", "Tromso", "🙂", "für", "x", "日本", "👩‍🚀"]), min_size=2, max_size=10))
def test_offsets_of_utf_16_and_of_bytes_are_recognised(parts: list[str]) -> None:
    text = " ".join(parts)
    spans = [(start, end, "X") for start, end in words(text)][1::2]
    for encoding, size, told in (("utf-16-le", 2, "UTF-16"), ("utf-8", 1, "bytes")):
        moved = [(len(text[:start].encode(encoding)) // size, len(text[:end].encode(encoding)) // size, label)
                 for start, end, label in spans]  # fmt: skip
        if moved != spans:
            found = shift(text, moved)
            assert told in found or "UTF-16" in found or "fit" in found
    if spans and spans[0][0] > 1:
        assert shift("hello " + text, [(start + 5, end + 5, label) for start, end, label in spans])


def test_sentences_follow_one_another_with_their_words() -> None:
    one = tagged_example({"tokens": ["Do", "n't", "go"], "tags": ["O", "B-N", "O"]}, "d")
    two = tagged_example({"tokens": ["Ana", "."], "tags": ["B-P", "O"]}, "d")
    both = followed([one, two])
    assert both.text == "Don't go Ana."
    assert [both.text[start:end] for start, end, _ in both.spans] == ["n't", "Ana"]
    assert [both.text[start:end] for start, end in both.words or ()] == ["Do", "n't", "go", "Ana", "."]
    han = [tagged_example({"tokens": list(text), "tags": ["O"] * len(text)}, "") for text in ("他来了。", "她走了。")]
    assert followed(han).text == "他来了。她走了。"
