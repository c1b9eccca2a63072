from __future__ import annotations

import warnings
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from seqeval.metrics.sequence_labeling import get_entities
    from seqeval.scheme import BILOU, IOB2, IOBES, Entities

from manyheads.errors import RowError
from manyheads.text.spans import (
    CharSpan,
    Scheme,
    Span,
    check_tag,
    scheme_of,
    spans_of_tags,
    tags_of_char_spans,
    tags_of_spans,
    to_iob2,
)
from manyheads.text.words import words

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
LABELS = ["A", "B", "x-y"]


@st.composite
def segmentations(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Spans that do not overlap, and the number of words."""
    spans, place = [], 0
    for gap, length, label in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(LABELS)), max_size=6)
    ):
        spans.append(Span(place + gap, place + gap + length, label))
        place += gap + length
    return spans, place + draw(st.integers(0, 2))


def sequences(letters: str) -> st.SearchStrategy[list[str]]:
    return st.lists(
        st.just("O") | st.builds("{}-{}".format, st.sampled_from(letters), st.sampled_from(LABELS)), max_size=12
    )


# -- reading and writing ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", SCHEMES)
@given(case=segmentations())
def test_written_tags_are_read_back(scheme: Scheme, case: tuple[list[Span], int]) -> None:
    spans, length = case
    assume(scheme != "IO" or not any(a.end == b.start and a.label == b.label for a, b in pairwise(spans)))
    tags = tags_of_spans(reversed(spans), length, scheme)
    assert len(tags) == length
    assert not any(map(check_tag, tags))
    assert spans_of_tags(tags) == spans
    assert spans_of_tags(tags, scheme) == spans
    assert to_iob2(tags) == tags_of_spans(spans, length)


def conlleval(column: list[str]) -> list[tuple[int, int, str]]:
    """conlleval's startOfChunk and endOfChunk, case by case, for B, I, E and O."""
    starts = {("B", "B"), ("I", "B"), ("O", "B"), ("O", "I"), ("E", "E"), ("E", "I"), ("O", "E")}
    ends = {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O"), ("E", "E"), ("E", "I"), ("E", "O")}
    spans, start = [], None
    before, label = "O", ""
    for k, tag in enumerate([*column, "O"]):
        prefix, _, kind = tag.partition("-")
        if start is not None and ((before, prefix) in ends or (before != "O" and label != kind)):
            spans.append((start, k, label))
            start = None
        if (before, prefix) in starts or (prefix != "O" and label != kind):
            start = k
        before, label = prefix, kind
    return spans


@given(sequences("BI"))
def test_any_iob_tags_are_read_as_by_conlleval(tags: list[str]) -> None:
    assert [(s.start, s.end, s.label) for s in spans_of_tags(tags)] == conlleval(tags)


@given(sequences("IE"))
def test_any_ioe_tags_are_read_as_by_conlleval(tags: list[str]) -> None:
    assert [(s.start, s.end, s.label) for s in spans_of_tags(tags)] == conlleval(tags)


@given(sequences("BIES"))
def test_reading_without_a_scheme_is_seqevals_default(tags: list[str]) -> None:
    assert [(s.label, s.start, s.end - 1) for s in spans_of_tags(tags)] == get_entities(tags)


@pytest.mark.parametrize(
    ("scheme", "theirs", "letters"), [("IOB2", IOB2, "BI"), ("IOBES", IOBES, "BIES"), ("BILOU", BILOU, "BILU")]
)
def test_reading_with_a_scheme_is_seqevals_strict_mode(scheme: Scheme, theirs: type, letters: str) -> None:
    @given(sequences(letters))
    def check(tags: list[str]) -> None:
        expected = [(e.start, e.end, e.tag) for e in Entities([tags], theirs).entities[0]] if tags else []
        # seqeval strips dashes from labels, and so do not the labels here: none starts or ends with one.
        assert [(s.start, s.end, s.label) for s in spans_of_tags(tags, scheme)] == expected

    check()


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("I-A I-A O I-A B-A I-B", [(0, 2, "A"), (3, 4, "A"), (4, 5, "A"), (5, 6, "B")]),
        ("B-A I-B I-B", [(0, 1, "A"), (1, 3, "B")]),
        ("B-A L-A U-B U-B I-A", [(0, 2, "A"), (2, 3, "B"), (3, 4, "B"), (4, 5, "A")]),
        ("E-A I-A E-A S-A", [(0, 1, "A"), (1, 3, "A"), (3, 4, "A")]),
        ("B I O B", [(0, 2, "_"), (3, 4, "_")]),
        ("B-x-y I-x-y", [(0, 2, "x-y")]),
        ("O O", []),
        ("", []),
    ],
)
def test_sequences_are_read_as_the_conll_scorer_reads_them(tags: str, spans: list[CharSpan]) -> None:
    assert [(s.start, s.end, s.label) for s in spans_of_tags(tags.split())] == spans


def test_converting_keeps_spans_and_iob2() -> None:
    assert to_iob2(["I-A", "I-A", "B-A", "I-B"]) == ["B-A", "I-A", "B-A", "B-B"]
    assert to_iob2(["S-A", "B-A", "E-A", "U-B", "B-C", "L-C"]) == ["B-A", "B-A", "I-A", "B-B", "B-C", "I-C"]
    assert tags_of_spans([Span(0, 1, "A"), Span(1, 2, "A"), Span(2, 3, "B")], 3, "IOB1") == ["I-A", "B-A", "I-B"]
    assert tags_of_spans([Span(0, 2, "A"), Span(2, 4, "A")], 4, "IO") == ["I-A"] * 4


@pytest.mark.parametrize(
    "spans", [[Span(0, 2, "A"), Span(1, 3, "A")], [Span(2, 4, "A")], [Span(1, 1, "A")], [Span(-1, 1, "A")]]
)
def test_spans_that_cannot_be_written_are_refused(spans: list[Span]) -> None:
    with pytest.raises(ValueError, match="is empty, overlaps"):
        tags_of_spans(spans, 3)


# -- schemes and tags -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", SCHEMES)
@given(cases=st.lists(segmentations(), min_size=1, max_size=4))
def test_the_scheme_of_written_tags_is_found_or_reads_the_same(
    scheme: Scheme, cases: list[tuple[list[Span], int]]
) -> None:
    written = [tags_of_spans(spans, length, scheme) for spans, length in cases]
    found = scheme_of(written)
    for tags in written:
        assert spans_of_tags(tags, found) == spans_of_tags(tags, scheme)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["I-A I-A O I-B", "I-A B-A"], "IOB1"),
        (["B-A I-A O B-B", "B-A B-A"], "IOB2"),
        (["B-A I-A O B-B", "B-A O I-A", "O B-A I-A"], "IOB2"),
        (["I-A O I-B"], "IOB1"),
        (["I-A O I-A I-B", "B-A O I-A"], "IOB2"),
        (["B-A E-A"], "IOBES"),
        (["S-A O"], "IOBES"),
        (["B-A L-A"], "BILOU"),
        (["U-A"], "BILOU"),
        (["B-A O"], "IOB2"),
        (["O O"], "IOB2"),
        (["B I", "O"], "IOB2"),
        ([], "IOB2"),
    ],
)
def test_the_scheme_is_detected(tags: list[str], scheme: Scheme) -> None:
    assert scheme_of([sequence.split() for sequence in tags]) == scheme


@pytest.mark.parametrize("tag", ["O", "B-PER", "I-x-y", "E-A", "S-A", "U-A", "L-A", "B", "I", "B- "])
def test_these_are_tags(tag: str) -> None:
    assert check_tag(tag) is None


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("Q-X", "tag 'Q-X' is none of O, B-, I-"),
        ("O-X", "tag 'O-X' is none of"),
        ("b-PER", "tag 'b-PER' is none of"),
        ("PER-B", "check that the last column holds the tags (name another as in columns: {tags: 3}); a label alone is written as in I-PER"),
        ("o", "tag 'o' is none of"),
        ("", "tag '' is none of"),
        ("-X", "tag '-X' is none of"),
        ("BI-X", "tag 'BI-X' is none of"),
        ("B-", "tag 'B-' has no label; write it as in B-PER"),
        (3, "tag 3 is not a string"),
        (None, "tag None is not a string"),
    ],
)
def test_these_are_none_and_a_sequence_with_one_is_refused(tag: object, message: str) -> None:
    assert message in str(check_tag(tag))
    for read in (spans_of_tags, to_iob2, lambda tags: scheme_of([tags])):
        with pytest.raises(RowError, match=r"^tag "):
            read(["O", tag])  # type: ignore[list-item]


# -- characters -------------------------------------------------------------------------------------------------------
def test_character_spans_become_tags_of_the_words_they_share_characters_with() -> None:
    offsets = words("Aspirin lowered fever (high) today")
    tags, aligned = tags_of_char_spans(offsets, [(16, 21, "D"), (0, 7, "C"), (23, 29, "X")])
    assert tags == ["B-C", "O", "B-D", "O", "B-X", "I-X", "O"]
    assert aligned == [True, True, False], "the last ends in the blank behind its words"
    tags, aligned = tags_of_char_spans(np.array(offsets), [(3, 10, "C")])
    assert tags[:3] == ["B-C", "I-C", "O"]
    assert aligned == [False]
    assert tags_of_char_spans(offsets, []) == (["O"] * 7, [])
    assert tags_of_char_spans([], [(0, 1, "A")]) == ([], [False])


def test_of_a_shared_word_the_earlier_span_takes_it() -> None:
    tags, aligned = tags_of_char_spans([(0, 4), (5, 9)], [(2, 9, "B"), (0, 2, "A")])
    assert tags == ["B-A", "B-B"]
    assert aligned == [False, False]
    tags, aligned = tags_of_char_spans([(0, 4)], [(0, 2, "A"), (2, 4, "B")])
    assert (tags, aligned) == (["B-A"], [False, False])
    tags, aligned = tags_of_char_spans([(0, 4), (5, 9)], [(4, 5, "A"), (2, 2, "B")])
    assert (tags, aligned) == (["O", "O"], [False, False])


@given(segmentations(), st.lists(st.integers(1, 4), min_size=30, max_size=30), st.data())
def test_spans_of_words_survive_the_way_through_characters(
    case: tuple[list[Span], int], widths: list[int], data: st.DataObject
) -> None:
    spans, length = case
    offsets, place = [], 0
    for width in widths[: max(length, 1)]:
        place += data.draw(st.integers(0, 2))
        offsets.append((place, place + width))
        place += width
    found = [(offsets[span.start][0], offsets[span.end - 1][1], span.label) for span in spans]
    tags, aligned = tags_of_char_spans(offsets, found)
    assert all(aligned)
    assert spans_of_tags(tags) == spans
    assert tags_of_char_spans(np.array(offsets).reshape(-1, 2), found) == (tags, aligned)
