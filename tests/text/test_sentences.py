"""Where sentences end, and that nothing of a text is lost."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.text.sentences import joined_sentences, sentences


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["It works.", "Does it?", "Yes!", "Well…", "Fine."],
        ["Dr. Li gave 2.5 mg (Fig. 1).", "Did it help?", "It did."],
        ["J. R. R. Tolkien and Smith et al. described it.", "Smith et al.", "The drug failed."],
        ["He came to the U.S.", "The U.S. Army came too."],
        ["See Fig. S1, No. 5 and pp. 3.", "He said no.", "Then he left."],
        ["Use e.g. aspirin vs. placebo, approx. 5 mg/d.", "Measure it."],
        ['He said "Stop."', "Then he left (at once.)", "“Why?”", "Nobody knew."],
        ['"Stop!" he said.', "We bought Yahoo! shares."],
        ["The pH fell.", "pH rose.", "mRNA was low."],
        ["1. Aims were set.", "2. Methods were chosen."],
        ["Wait...", "What... and why?", "Version 3.11.2 is out.", "See example.org for more."],
        ["At 5 p.m. he left.", "He came at 5 p.m.", "The end."],
        ["Сначала было слово.", "Потом дело."],
        ["नमस्ते।", "कैसे हैं।"],
        ["هل نجح؟", "نعم."],
    ],
)
def test_sentences_of_running_text_are_found(expected: list[str]) -> None:
    assert cut(" ".join(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["今日は良い。", "明日は？", "終わり"],
        ["「そうだ。」と言った。", "「はい。」", "彼は帰った。"],
        ["他来了！", "价格是３．５元。", "好。"],
    ],
)
def test_full_stops_of_scripts_without_spaces_need_no_space_after_them(expected: list[str]) -> None:
    assert cut("".join(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Background\nAspirin is old.\n\nMethods\r\nWe asked.", ["Background", "Aspirin is old.", "Methods", "We asked."]),
        ("- first item\n- second item", ["- first item", "- second item"]),
        (
            "This is prose that an editor has wrapped at about sixty-five signs\nSo that the line break means nothing there, "
            "although a capital\nfollows it. Done.",
            [
                "This is prose that an editor has wrapped at about sixty-five signs\nSo that the line break means nothing there, "
                "although a capital\nfollows it.",
                "Done.",
            ],
        ),
    ],
)
def test_line_breaks_end_sentences_unless_the_text_is_wrapped_there(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@given(st.text(st.sampled_from("ab AB.!?…\"')(。「」\n\r 1é\u3000") | st.characters(), max_size=80))
def test_sentences_hold_every_character_but_white_space_once_and_in_order(text: str) -> None:
    found = sentences(text)
    assert all(start < end for start, end in found)
    assert all(one[1] <= two[0] for one, two in pairwise(found))
    assert all(part == part.strip() for part in cut(text))
    gaps = [text[one:two] for one, two in zip([0, *(end for _, end in found)], [*(start for start, _ in found), len(text)], strict=True)]
    assert not "".join(gaps).strip()


@given(st.lists(st.text(min_size=1, max_size=20), max_size=6))
def test_joined_sentences_are_at_their_offsets(texts: list[str]) -> None:
    text, offsets = joined_sentences(texts)
    assert [text[start:end] for start, end in offsets] == texts


@pytest.mark.parametrize("part", ["e.g. ", "A.\n", "....x", "!\"", "。」と", "1. ", "x\n\n", "(", " ", "\n", "J."])
def test_time_grows_with_the_text_only(part: str) -> None:
    began = time.process_time()
    sentences(part * (200_000 // len(part)))
    assert time.process_time() - began < 20  # a quadratic rule would take minutes


def test_ordinary_english_is_cut_as_by_spacy() -> None:
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    text = (
        "Aspirin lowered fever in children. Did it help adults? It did! The trial enrolled 120 patients, of whom 3.5 % left "
        "early (most of them in May). Nausea was common; nobody died. We conclude that more trials are needed."
    )
    assert cut(text) == [span.text for span in nlp(text).sents]
