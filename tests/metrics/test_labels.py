"""Label scores against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from sklearn.preprocessing import MultiLabelBinarizer

from manyheads.metrics.labels import Counts, confusion_matrix, label_counts, multi_label_scores, single_label_scores

LABEL = st.sampled_from(["a", "b", "c", "é"])
PAIRS = st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=20)
SETS = st.lists(st.tuples(st.sets(LABEL, max_size=3), st.sets(LABEL, max_size=3)), min_size=1, max_size=20)


@given(PAIRS)
@settings(max_examples=60, deadline=None)
def test_single_label_scores_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    gold, guess = map(list, zip(*pairs, strict=True))
    expected = {f"{mean}_f1": sklearn.f1_score(gold, guess, average=mean, zero_division=0)
                for mean in ("macro", "micro", "weighted")}  # fmt: skip
    expected["accuracy"] = sklearn.accuracy_score(gold, guess)
    assert single_label_scores(gold, guess) == pytest.approx(expected)


@given(SETS)
@settings(max_examples=60, deadline=None)
def test_multi_label_scores_are_those_of_scikit_learn(pairs: list[tuple[set[str], set[str]]]) -> None:
    gold, guess = map(list, zip(*pairs, strict=True))
    present = sorted(set().union(*gold, *guess))
    scores = multi_label_scores(gold, guess)
    assert scores["accuracy"] == pytest.approx(np.mean([one == other for one, other in pairs]))
    if not present:
        assert scores == {"accuracy": 1.0, "macro_f1": 0.0, "micro_f1": 0.0, "weighted_f1": 0.0}
        return
    binarizer = MultiLabelBinarizer(classes=[*present, "unused"])  # one column alone would be read as two classes
    columns = range(len(present))
    y_BK, z_BK = binarizer.fit_transform(gold), binarizer.transform(guess)
    assert scores["accuracy"] == pytest.approx(sklearn.accuracy_score(y_BK, z_BK))
    for mean in ("macro", "micro", "weighted"):
        expected = sklearn.f1_score(y_BK, z_BK, average=mean, labels=columns, zero_division=0)
        assert scores[f"{mean}_f1"] == pytest.approx(expected)
    figures = sklearn.precision_recall_fscore_support(y_BK, z_BK, labels=columns, zero_division=0)
    for label, *values in zip(present, *figures, strict=True):
        counts = label_counts(gold, guess)[label]
        assert (counts.precision, counts.recall, counts.f1, counts.gold) == pytest.approx(tuple(values))


@given(PAIRS)
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_the_confusion_matrix_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    gold, guess = map(list, zip(*pairs, strict=True))
    labels, matrix_KK = confusion_matrix(gold, guess)
    assert list(labels) == sorted({*gold, *guess})
    assert (matrix_KK == sklearn.confusion_matrix(gold, guess, labels=labels)).all()
    if "b" in gold:
        chosen, part_KK = confusion_matrix(gold, guess, labels=["b", "z"])
        assert chosen == ("b", "z")
        assert (part_KK == sklearn.confusion_matrix(gold, guess, labels=["b", "z"])).all()


def test_a_text_without_a_prediction_is_wrong_and_adds_no_label() -> None:
    scores = single_label_scores(["a", "b"], ["a", None])
    assert scores == {"accuracy": 0.5, "macro_f1": 0.5, "micro_f1": pytest.approx(2 / 3), "weighted_f1": 0.5}


def test_repeated_labels_of_a_text_count_once() -> None:
    assert multi_label_scores([["a", "a"]], [["a"]])["micro_f1"] == 1.0


def test_no_texts_score_zero() -> None:
    assert set(single_label_scores([], []).values()) == {0.0}


def test_counts_divide_by_zero_to_zero() -> None:
    assert (Counts(0, 0, 0).precision, Counts(0, 0, 0).recall, Counts(0, 0, 0).f1) == (0.0, 0.0, 0.0)
    assert Counts(1, 2, 3) + Counts(1, 1, 1) == Counts(2, 3, 4)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="1 gold texts but 2 predictions"):
        single_label_scores(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="1 gold texts but 0 predictions"):
        confusion_matrix(["a"], [])
