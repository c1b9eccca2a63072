"""Scores with credit for partial matches, against nervaluate's."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nervaluate.entities import Entity, EvaluationResult
from nervaluate.strategies import (
    EntityTypeEvaluation,
    EvaluationStrategy,
    ExactEvaluation,
    PartialEvaluation,
    StrictEvaluation,
)

from manyheads.metrics.entities import Span, entity_scores
from manyheads.metrics.partial_matches import partial_scores

ORACLES = {"exact_f1": ExactEvaluation(), "partial_f1": PartialEvaluation(), "type_f1": EntityTypeEvaluation()}


@st.composite
def flat_spans(draw: st.DrawFn) -> list[Span]:
    edges = sorted(draw(st.sets(st.integers(0, 25), max_size=12)))
    pairs = list(pairwise(edges))[:: draw(st.sampled_from([1, 2]))]
    return [(a, b, draw(st.sampled_from("AB"))) for a, b in pairs]


def f1(oracle: EvaluationStrategy, texts: list[tuple[list[Span], list[Span]]]) -> float:
    total = EvaluationResult()
    for gold, found in texts:
        # its ends are inclusive, and an overlap of a hundredth of the gold span is enough
        mine = [[Entity(label=label, start=start, end=end - 1) for start, end, label in spans] for spans in (gold, found)]
        result, _ = oracle.evaluate(mine[0], mine[1], ["A", "B"])
        for part in ("correct", "partial", "incorrect", "missed", "spurious"):
            setattr(total, part, getattr(total, part) + getattr(result, part))
    total.compute_metrics(partial_or_type=not isinstance(oracle, ExactEvaluation | StrictEvaluation))
    return float(total.f1)


@given(st.lists(st.tuples(flat_spans(), flat_spans()), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_flat_spans_score_as_in_nervaluate(texts: list[tuple[list[Span], list[Span]]]) -> None:
    gold, found = [one for one, _ in texts], [other for _, other in texts]
    scores = partial_scores(gold, found)
    for name, oracle in ORACLES.items():
        assert scores[name] == pytest.approx(f1(oracle, texts)), name
    assert entity_scores(gold, found).total.f1 == pytest.approx(f1(StrictEvaluation(), texts))


def test_a_span_that_is_right_is_not_taken_by_a_neighbour_that_overlaps_it() -> None:
    scores = partial_scores([[(2, 9, "A")]], [[(0, 12, "A"), (2, 9, "A")]])
    assert scores == {"exact_f1": pytest.approx(2 / 3), "partial_f1": pytest.approx(2 / 3), "type_f1": pytest.approx(2 / 3)}


def test_nothing_at_all_scores_zero() -> None:
    assert set(partial_scores([[]], [[]]).values()) == {0.0}
