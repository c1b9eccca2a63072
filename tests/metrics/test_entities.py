"""Scores of spans, against seqeval's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from manyheads.metrics.entities import Span, entity_scores, token_accuracy

Tags = list[str]


def spans_of(tags: Tags) -> list[Span]:
    """By seqeval, which knows nothing of ours."""
    return [(start, end + 1, label) for label, start, end in get_entities(tags)]


def columns(prefixes: str) -> st.SearchStrategy[Tags]:
    tags = [f"{prefix}-{label}" for prefix in prefixes for label in ("PER", "LOC", "a-b")]
    return st.lists(st.sampled_from(["O", *tags]), max_size=12)


@given(st.lists(st.tuples(columns("BIES"), st.randoms(use_true_random=False)), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_seqeval(pairs: list[tuple[Tags, object]]) -> None:
    gold = [tags for tags, _ in pairs]
    guess = [[random.choice([tag, tag, "O", "B-PER", "I-LOC"]) for tag in tags] for tags, random in pairs]  # type: ignore[attr-defined]
    scores = entity_scores([spans_of(tags) for tags in gold], [spans_of(tags) for tags in guess])
    arguments = {"zero_division": 0}
    assert scores.total.precision == pytest.approx(precision_score(gold, guess, **arguments))
    assert scores.total.recall == pytest.approx(recall_score(gold, guess, **arguments))
    assert scores.total.f1 == pytest.approx(f1_score(gold, guess, **arguments))
    if any(gold):
        assert token_accuracy(gold, guess) == pytest.approx(accuracy_score(gold, guess))
    if scores.labels:
        report = classification_report(gold, guess, output_dict=True, **arguments)
        for label, counts in scores.labels.items():
            assert counts.f1 == pytest.approx(report[label]["f1-score"])
            assert counts.gold == report[label]["support"]


def test_metrics_have_the_names_of_the_contract_and_labels_on_request() -> None:
    scores = entity_scores([{(0, 1, "PER"), (2, 3, "LOC")}, []], [[(0, 1, "PER"), (2, 4, "LOC")], [(5, 6, "ORG")]])
    assert scores.to_metrics() == {"f1": pytest.approx(0.4), "precision": pytest.approx(1 / 3), "recall": 0.5}
    assert set(scores.labels) == {"LOC", "ORG", "PER"}
    assert scores.labels["PER"].f1 == 1.0
    assert (scores.total.correct, scores.total.gold, scores.total.predicted) == (1, 2, 3)


def test_nothing_at_all_scores_zero() -> None:
    assert entity_scores([[]], [[]]).to_metrics() == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert entity_scores([], []).total.f1 == 0.0
    assert token_accuracy([], []) == 0.0


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="2 gold sentences but 1 predicted"):
        entity_scores([[], []], [[]])
    with pytest.raises(ValueError, match="sentence 0 has 1 gold tags but 2 predicted"):
        token_accuracy([["O"]], [["O", "O"]])
    with pytest.raises(ValueError, match="zip"):
        token_accuracy([["O"]], [])
