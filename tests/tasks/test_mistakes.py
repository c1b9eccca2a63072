"""Errors of entities by type."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.html.findings import in_context
from manyheads.metrics.entities import entity_scores
from manyheads.tasks.token_classification.mistakes import BOUNDARY, LABEL, MISSED, SPURIOUS, entity_errors

Span = tuple[int, int, str]


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    """Spans that do not overlap one another, as gold data and decoders give them."""
    edges = sorted(draw(st.sets(st.integers(0, 40), max_size=12)))
    return [(a, b, draw(st.sampled_from("AB"))) for a, b in list(pairwise(edges))[::2]]


@given(spans(), spans())
def test_every_span_is_right_or_in_exactly_one_error(gold: list[Span], found: list[Span]) -> None:
    errors = entity_errors(gold, [(span, 0.5) for span in found])
    right = set(gold) & set(found)
    assert sorted(e.gold for e in errors if e.gold) == sorted(set(gold) - right)
    assert sorted(e.found for e in errors if e.found) == sorted(set(found) - right)
    total = entity_scores([gold], [found]).total
    assert total.correct == len(right)
    assert total.gold == len(right) + sum(e.gold is not None for e in errors)


@given(spans(), spans())
def test_the_kind_of_an_error_says_what_its_spans_are_to_one_another(gold: list[Span], found: list[Span]) -> None:
    for error in entity_errors(gold, [(span, 0.5) for span in found]):
        g, f = error.gold, error.found
        if g and f:
            assert max(g[0], f[0]) < min(g[1], f[1])
            assert error.kind == (BOUNDARY if g[2] == f[2] else LABEL)
        else:
            assert error.kind == (MISSED if g else SPURIOUS)


@pytest.mark.parametrize(
    ("gold", "found", "kinds"),
    [
        ([(0, 5, "A")], [(0, 5, "B")], [LABEL]),
        ([(0, 5, "A")], [(0, 7, "A")], [BOUNDARY]),
        ([(0, 5, "A")], [(0, 7, "B")], [LABEL]),
        ([(0, 5, "A")], [(5, 7, "A")], [MISSED, SPURIOUS]),
        ([(0, 9, "A")], [(0, 3, "A"), (4, 9, "A")], [BOUNDARY, SPURIOUS]),
        ([(0, 5, "A"), (6, 9, "B")], [(0, 9, "A")], [BOUNDARY, MISSED]),
        ([], [], []),
    ],
)
def test_known_errors_get_their_type(gold: list[Span], found: list[Span], kinds: list[str]) -> None:
    assert [error.kind for error in entity_errors(gold, [(span, 0.9) for span in found])] == kinds


def test_a_quote_marks_gold_and_found_and_is_cut_between_words() -> None:
    text = "word " * 30 + "Aspirin helps <b>fever</b> " + "word " * 30
    start = text.index("Aspirin")
    quote = in_context(text, [(start, start + 7)], [(start, start + 13)], (start, start + 13))
    assert '<mark class="gold both">Aspirin</mark>' in quote
    assert '<mark class="found"> helps</mark>' in quote
    assert "&lt;b&gt;fever&lt;/b&gt;" in quote
    assert quote.startswith('<span class="said" dir="auto">… word ')
    assert quote.endswith("word …</span>")


@given(st.text(max_size=60), st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_any_text_can_be_quoted_around_any_span(text: str, ends: tuple[int, int]) -> None:
    start, end = (min(sorted(ends)[0], len(text)), min(sorted(ends)[1], len(text)))
    assert in_context(text, [(start, end)], [], (start, end)).endswith("</span>")
