"""Chunks by the rules of conlleval, and their scores, against seqeval and against the rules written out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from manyheads.metrics.entities import chunks, entity_scores, iob2_tags, scheme, split_tag, token_accuracy

Tags = list[str]


def columns(prefixes: str) -> st.SearchStrategy[Tags]:
    tags = [f"{prefix}-{label}" for prefix in prefixes for label in ("PER", "LOC", "a-b")]
    return st.lists(st.sampled_from(["O", *tags]), max_size=12)


def placed(steps: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Spans that do not overlap, from gaps and lengths."""
    spans, end = [], 0
    for gap, length, label in steps:
        spans.append((end + gap, end + gap + length, label))
        end = spans[-1][1]
    return spans


STEP = st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["PER", "LOC"]))
SPANS = st.lists(STEP, max_size=4).map(placed)


def written(spans: list[tuple[int, int, str]], kind: str) -> Tags:
    """Tags of spans in a scheme."""
    tags = ["O"] * (max((end for _, end, _ in spans), default=0) + 1)
    before: tuple[int, str] = (-1, "")
    for start, end, label in spans:
        for k in range(start, end):
            first, last = k == start, k == end - 1
            prefix = "B" if first else "I"
            if kind == "IOB1":
                prefix = "B" if first and before == (start, label) else "I"
            elif kind == "IOBES":
                prefix = {(True, True): "S", (True, False): "B", (False, True): "E", (False, False): "I"}[first, last]
            tags[k] = f"{prefix}-{label}"
        before = (end, label)
    return tags


def conlleval(column: Tags) -> list[tuple[int, int, str]]:
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


@given(columns("BI"))
def test_chunks_of_any_iob_tags_are_those_of_conlleval(tags: Tags) -> None:
    assert chunks(tags) == conlleval(tags)


@given(columns("IE"))
def test_chunks_of_any_ioe_tags_are_those_of_conlleval(tags: Tags) -> None:
    assert chunks(tags) == conlleval(tags)


@given(columns("BIES"))
def test_chunks_of_any_tags_whatever_are_those_of_seqeval(tags: Tags) -> None:
    assert chunks(tags) == [(start, end + 1, label) for label, start, end in get_entities(tags)]


@given(SPANS)
@pytest.mark.parametrize("kind", ["IOB1", "IOB2", "IOBES"])
def test_well_formed_tags_of_each_scheme_give_their_spans_back(kind: str, spans: list[tuple[int, int, str]]) -> None:
    tags = written(spans, kind)
    assert chunks(tags) == spans
    strict = Entities([tags], scheme={"IOB1": IOB1, "IOB2": IOB2, "IOBES": IOBES}[kind])
    assert chunks(tags) == [(e.start, e.end, e.tag) for e in strict.entities[0]]
    if kind == "IOB2":
        assert iob2_tags(spans, len(tags)) == tags


@given(st.lists(st.tuples(columns("BIES"), st.randoms(use_true_random=False)), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_seqeval(pairs: list[tuple[Tags, object]]) -> None:
    gold = [tags for tags, _ in pairs]
    guess = [[random.choice([tag, tag, "O", "B-PER", "I-LOC"]) for tag in tags] for tags, random in pairs]  # type: ignore[attr-defined]
    scores = entity_scores([chunks(tags) for tags in gold], [chunks(tags) for tags in guess])
    arguments = {"zero_division": 0}
    assert scores.precision == pytest.approx(precision_score(gold, guess, **arguments))
    assert scores.recall == pytest.approx(recall_score(gold, guess, **arguments))
    assert scores.f1 == pytest.approx(f1_score(gold, guess, **arguments))
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
    assert set(scores.to_metrics(each_label=True)) == {"f1", "precision", "recall", "f1_LOC", "f1_ORG", "f1_PER"}
    assert scores.to_metrics(each_label=True)["f1_PER"] == 1.0
    assert (scores.total.correct, scores.total.gold, scores.total.predicted) == (1, 2, 3)


def test_nothing_at_all_scores_zero() -> None:
    assert entity_scores([[]], [[]]).to_metrics() == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert entity_scores([], []).f1 == 0.0
    assert token_accuracy([], []) == 0.0


@pytest.mark.parametrize(
    ("kind", "tags"),
    [
        ("IOB1", ["I-PER", "O", "I-LOC", "B-LOC"]),
        ("IOB2", ["B-PER", "I-PER", "O", "B-LOC"]),
        ("IOB2", ["B-PER", "O", "I-LOC"]),
        ("IOB2", ["O", "O"]),
        ("IOBES", ["O", "S-PER"]),
        ("IOBES", ["B-PER", "E-PER"]),
    ],
)
def test_the_scheme_of_a_column_is_recognised(kind: str, tags: Tags) -> None:
    assert scheme([["O"], tags]) == kind


def test_labels_may_hold_a_hyphen_or_be_absent() -> None:
    assert split_tag("B-creative-work") == ("B", "creative-work")
    assert chunks(["B", "I", "O", "B"]) == [(0, 2, ""), (3, 4, "")]


@pytest.mark.parametrize("tag", ["PER", "b-PER", "", "O-PER-", "X-PER", "0"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=r"tag '.*' is neither 'O' nor one of 'B-', 'I-', 'E-', 'S-' with a label"):
        chunks(["O", tag])


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="2 gold sentences but 1 predicted"):
        entity_scores([[], []], [[]])
    with pytest.raises(ValueError, match="sentence 0 has 1 gold tags but 2 predicted"):
        token_accuracy([["O"]], [["O", "O"]])
    with pytest.raises(ValueError, match="zip"):
        token_accuracy([["O"]], [])


def test_of_overlapping_spans_the_first_is_written() -> None:
    assert iob2_tags([(1, 3, "LOC"), (0, 2, "PER")], 4) == ["B-PER", "I-PER", "O", "O"]
