"""SQuAD's rules: cases by hand, and properties of the threshold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.metrics.answers import answer_scores, best_threshold, exact_match, f1, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Quick, brown\tfox!", "quick brown fox"),
        ("an apple a day", "apple day"),
        ("theatre and anagram", "theatre and anagram"),
        ("U.S.A.", "usa"),
        ("a.", ""),
        ("well-known", "wellknown"),
        ("“quoted” — it’s", "“quoted” — it’s"),  # punctuation beyond ASCII stays, as in the official scripts
        ("10 000 €", "10 000 €"),
        ("ΑΒΓ", "αβγ"),
        ("the\u00a0end", "end"),
        ("", ""),
        ("The a an", ""),
        ("a1 the_b", "a1 theb"),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "overlap"),
    [
        ("the Eiffel Tower", ["Eiffel Tower."], 1.0, 1.0),
        ("Eiffel", ["Eiffel Tower", "the tower"], 0.0, 2 / 3),
        ("tower Eiffel", ["Eiffel Tower"], 0.0, 1.0),
        ("b b b", ["b c"], 0.0, 2 * 1 / 5),  # a repeated word counts as often as gold has it
        ("Paris", ["London"], 0.0, 0.0),
        ("", ["London"], 0.0, 0.0),
        (None, ["London"], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("the", [], 1.0, 1.0),  # normalises to nothing
        ("Paris", [], 0.0, 0.0),
        (None, [], 0.0, 0.0),
        ("A", ["a"], 1.0, 1.0),
        ("x", ["the", "x"], 1.0, 1.0),
        ("", ["the", "x"], 0.0, 0.0),  # a gold answer that is but an article is passed over
    ],
)
def test_exact_match_and_f1(prediction: str | None, golds: list[str], exact: float, overlap: float) -> None:
    assert exact_match(prediction, golds) == exact
    assert f1(prediction, golds) == pytest.approx(overlap)


WORDS = st.lists(st.sampled_from(["a", "the", "Cat", "dog.", "sat"]), max_size=4).map(" ".join)


@given(WORDS, st.lists(WORDS, max_size=3))
def test_f1_lies_between_exact_match_and_one(prediction: str, golds: list[str]) -> None:
    assert exact_match(prediction, golds) <= f1(prediction, golds) <= 1.0
    assert f1(prediction, [prediction, *golds]) == 1.0 or normalise(prediction) == ""


def test_scores_split_questions_with_and_without_an_answer() -> None:
    scores = answer_scores([["cat"], ["big dog"], [], []], ["cat", "dog", "", "no"])
    assert scores == pytest.approx({
        "exact_match": 0.5, "f1": (1 + 2 / 3 + 1) / 4,
        "has_answer_exact_match": 0.5, "has_answer_f1": (1 + 2 / 3) / 2,
        "no_answer_exact_match": 0.5, "no_answer_f1": 0.5,
    })  # fmt: skip


def test_keys_follow_from_the_questions() -> None:
    assert set(answer_scores([["cat"]], ["cat"])) == {"exact_match", "f1"}
    assert set(answer_scores([[]], [""])) == {"exact_match", "f1", "no_answer_exact_match", "no_answer_f1"}
    assert answer_scores([], []) == {"exact_match": 0.0, "f1": 0.0}


QUESTION = st.tuples(
    st.sampled_from([[], ["cat"], ["big dog"]]),
    st.sampled_from(["cat", "dog", "", None]),
    st.sampled_from([-1.0, 0.0, 0.25, 0.25, 0.5, 1.0]),
)


@given(st.lists(QUESTION, max_size=12))
@settings(max_examples=100, deadline=None)
def test_no_threshold_is_better_than_the_best(questions: list[tuple[list[str], str | None, float]]) -> None:
    golds, predictions, chances = ([q[k] for q in questions] for k in range(3))

    def f1_at(threshold: float) -> float:
        given_answers = [
            "" if chance > threshold else prediction for prediction, chance in zip(predictions, chances, strict=True)
        ]
        return answer_scores(golds, given_answers)["f1"]

    best = best_threshold(golds, predictions, chances)
    tried = [-2.0, *chances, 0.1, 0.3, 2.0]
    assert f1_at(best) == pytest.approx(max(map(f1_at, tried)))


def test_the_best_threshold_is_a_score_and_the_lowest_of_equals() -> None:
    golds: list[list[str]] = [["cat"], [], ["dog"], []]
    assert best_threshold(golds, ["cat", "x", "dog", "x"], [0.1, 0.6, 0.2, 0.9]) == 0.2
    assert best_threshold([["cat"], ["dog"]], ["cat", "wrong"], [0.3, 0.4]) == 0.3
    assert best_threshold([[], []], ["x", "y"], [0.3, 0.4]) == 0.0, "all are withheld"
    assert best_threshold([[]], ["x"], [0.0]) < 0.0, "0.0 would give the answer"
    assert best_threshold([], [], []) == 0.0


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="1 questions but 0 predictions"):
        answer_scores([["a"]], [])
    with pytest.raises(ValueError, match="1 questions but 2 no-answer scores"):
        best_threshold([["a"]], ["a"], [0.1, 0.2])
