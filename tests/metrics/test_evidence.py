"""Metrics from counts of clusters against the functions of the other modules, and scipy, on the repeated data itself."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from manyheads.metrics import evidence
from manyheads.metrics.answers import answer_scores, exact_match
from manyheads.metrics.answers import f1 as answer_f1
from manyheads.metrics.entities import entity_scores
from manyheads.metrics.evidence import Ranks, Tally, cluster_numbers, from_arrays, grouped, to_arrays
from manyheads.metrics.labels import multi_label_scores, single_label_scores
from manyheads.metrics.vectors import mrr, ranks, spearman

KEYS = st.sampled_from(["a", "b", "c", ""])
LABELS = st.sampled_from("XYZ")
SPANS = st.sets(st.tuples(st.integers(0, 3), st.integers(4, 6), LABELS), max_size=4)
VALUES = st.integers(-3, 3).map(float) | st.floats(-5, 5).map(lambda x: round(x, 2))


def rows(*columns: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Examples with a cluster key before their columns."""
    return st.lists(st.tuples(KEYS, *columns), min_size=1, max_size=25)


def drawn(keys: Sequence[str], seed: int) -> tuple[np.ndarray, list[list[int]]]:
    """Multiplicities of clusters, nought included, and the examples that each draw consists of."""
    numbers_E = cluster_numbers(keys)
    weights_BC = np.random.default_rng(seed).integers(0, 4, size=(5, int(numbers_E.max()) + 1))
    weights_BC[0] = 1
    return weights_BC, [np.repeat(np.arange(len(keys)), weights_C[numbers_E]).tolist() for weights_C in weights_BC]


def ranks_of(clusters: Sequence[int], predicted: Sequence[float], gold: Sequence[float]) -> Ranks:
    return Ranks(np.array(clusters), np.array(predicted), np.array(gold))


def label_columns(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> np.ndarray:
    return np.array(
        [
            [count for x in "XYZ" for count in (x in one and x in other, x in other, x in one)]
            for one, other in zip(gold, predicted, strict=True)
        ],
        np.float64,
    )


@given(rows(SPANS, SPANS), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_entity_f1_of_any_draw_is_that_of_the_repeated_documents(examples: list[tuple[Any, ...]], seed: int) -> None:
    keys, gold, predicted = map(list, zip(*examples, strict=True))
    counts = [(len(one & other), len(other), len(one)) for one, other in zip(gold, predicted, strict=True)]
    weights_BC, draws = drawn(keys, seed)
    expected = [entity_scores([gold[i] for i in draw], [predicted[i] for i in draw]).total.f1 for draw in draws]
    assert Tally(grouped(counts, keys), "f1").scores(weights_BC).tolist() == pytest.approx(expected, abs=1e-12)


@given(rows(LABELS, LABELS | st.none()), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_accuracy_and_macro_f1_are_those_of_the_repeated_texts(examples: list[tuple[Any, ...]], seed: int) -> None:
    keys, gold, predicted = map(list, zip(*examples, strict=True))
    weights_BC, draws = drawn(keys, seed)
    expected = [single_label_scores([gold[i] for i in draw], [predicted[i] for i in draw]) for draw in draws]
    right = [(one == other, 1) for one, other in zip(gold, predicted, strict=True)]
    accuracy = Tally(grouped(right, keys), "mean")
    macro_f1 = Tally(grouped(label_columns(gold, [other or "" for other in predicted]), keys), "macro_f1")
    assert accuracy.scores(weights_BC).tolist() == pytest.approx([one["accuracy"] for one in expected], abs=1e-12)
    assert macro_f1.scores(weights_BC).tolist() == pytest.approx([one["macro_f1"] for one in expected], abs=1e-12)


@given(rows(st.sets(LABELS), st.sets(LABELS)), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_macro_f1_of_several_labels_is_that_of_the_repeated_texts(examples: list[tuple[Any, ...]], seed: int) -> None:
    keys, gold, predicted = map(list, zip(*examples, strict=True))
    weights_BC, draws = drawn(keys, seed)
    tally = Tally(grouped(label_columns(gold, predicted), keys), "macro_f1")
    expected = [multi_label_scores([gold[i] for i in draw], [predicted[i] for i in draw])["macro_f1"] for draw in draws]
    assert tally.scores(weights_BC).tolist() == pytest.approx(expected, abs=1e-12)


def test_means_of_answers_and_of_reciprocal_ranks_are_those_of_the_repeated_questions() -> None:
    rng = np.random.default_rng(0)
    words = ["red", "red car", "the car", "", "blue"]
    golds = [[words[i] for i in rng.integers(5, size=rng.integers(1, 3))] for _ in range(30)]
    guesses = [words[i] for i in rng.integers(5, size=30)]
    keys = [f"article {i // 4}" for i in range(30)]
    weights_BC, draws = drawn(keys, 1)
    for name, score in (("exact_match", exact_match), ("f1", answer_f1)):
        counts = [(score(guess, texts), 1) for guess, texts in zip(guesses, golds, strict=True)]
        expected = [answer_scores([golds[i] for i in draw], [guesses[i] for i in draw])[name] for draw in draws]
        assert Tally(grouped(counts, keys), "mean").scores(weights_BC).tolist() == pytest.approx(expected)
    a_BD, b_BD = rng.normal(size=(2, 30, 4))
    counts = [(1 / rank, 1) for rank in ranks(a_BD, b_BD)]
    assert Tally(grouped(counts, keys), "mean").scores(weights_BC)[0] == pytest.approx(mrr(a_BD, b_BD))


@given(rows(VALUES, VALUES), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_spearman_of_any_draw_is_that_of_scipy_on_the_repeated_pairs(
    examples: list[tuple[Any, ...]], seed: int
) -> None:
    keys, predicted, gold = map(list, zip(*examples, strict=True))
    weights_BC, draws = drawn(keys, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ranks_of(cluster_numbers(keys).tolist(), predicted, gold).scores(weights_BC)
    for value, draw in zip(found, draws, strict=True):
        x, y = [predicted[i] for i in draw], [gold[i] for i in draw]
        assert value == pytest.approx(spearman(x, y), abs=1e-9)
        if len(set(x)) > 1 and len(set(y)) > 1:
            assert value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)


def test_spearman_is_the_same_in_however_many_parts_draws_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pairs = Ranks(np.arange(40), rng.normal(size=40), rng.integers(5, size=40).astype(np.float64))
    weights_BC = rng.integers(3, size=(11, 40))
    whole = pairs.scores(weights_BC)
    monkeypatch.setattr(evidence, "CELLS", 3 * 40)
    assert pairs.scores(weights_BC).tolist() == whole.tolist()
    assert pairs.scores(weights_BC[:0]).shape == (0,)


@given(rows(st.integers(0, 5), st.integers(0, 5)))
@settings(max_examples=40, deadline=None)
def test_grouping_sums_equal_keys_keeps_empty_ones_apart_and_loses_nothing(examples: list[tuple[Any, ...]]) -> None:
    keys, *columns = map(list, zip(*examples, strict=True))
    counts_EM = np.array(columns).T
    counts_CM, numbers_E = grouped(counts_EM, keys), cluster_numbers(keys)
    assert len(counts_CM) == len({key for key in keys if key}) + keys.count("")
    assert counts_CM.sum(0).tolist() == counts_EM.sum(0).tolist()
    first = list(dict.fromkeys(numbers_E.tolist()))
    assert first == list(range(len(counts_CM)))
    for one, key in enumerate(keys):
        same = [other for other, number in enumerate(numbers_E) if number == numbers_E[one]]
        assert same == ([i for i, other in enumerate(keys) if other == key] if key else [one])


def test_evidence_survives_being_stored_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    weights_BC = rng.integers(3, size=(4, 8))
    for one in (Tally(rng.random((8, 3)), "f1"), Tally(rng.random((8, 6)), "macro_f1"), Tally(rng.random((8, 2)), "mean"),
                Ranks(np.arange(16) // 2, rng.normal(size=16), rng.normal(size=16))):  # fmt: skip
        facts, arrays = to_arrays(one)
        file = BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        file.seek(0)
        again = from_arrays(json.loads(json.dumps(facts)), np.load(file))
        assert again.scores(weights_BC).tolist() == one.scores(weights_BC).tolist()
        assert (again.clusters, again.units) == (one.clusters, one.units)


def test_units_are_gold_entities_labels_examples_and_pairs() -> None:
    assert Tally(np.array([[1, 2, 3], [0, 1, 2]]), "f1").units == 5
    assert Tally(np.array([[1, 2, 3, 1, 1, 4]]), "macro_f1").units == 7
    assert Tally(np.array([[0.5, 1], [1, 2]]), "mean").units == 3
    assert ranks_of([0, 0, 1], [1, 2, 3], [1, 2, 3]).units == 3


def test_evidence_copies_what_it_is_given() -> None:
    counts_CM = np.ones((2, 2))
    tally = Tally(counts_CM, "mean")
    counts_CM[:] = 0
    assert tally.scores(np.ones((1, 2))).tolist() == [1.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tally(np.ones((2, 3)), "mean"), "3 columns; give 2|shape"),
        (lambda: Tally(np.ones((2, 6)), "f1"), "6 columns; give 3"),
        (lambda: Tally(np.ones((2, 4)), "macro_f1"), r"shape \(2, 4\); give \(clusters, 3\)"),
        (lambda: Tally(np.ones((0, 2)), "mean"), r"shape \(0, 2\)"),
        (lambda: Tally(-np.ones((2, 2)), "mean"), "negative or not finite"),
        (lambda: Tally(np.full((2, 2), np.nan), "mean"), "negative or not finite"),
        (lambda: Tally(np.ones((2, 2)), cast(Any, "median")), "no formula 'median'; use one of f1, mean, macro_f1"),
        (lambda: Tally(np.ones((2, 2)), "mean").scores(np.ones((1, 3))), r"\(1, 3\) but there are 2 clusters"),
        (lambda: ranks_of([0, 1], [1.0], [1.0]), "three of one length"),
        (lambda: ranks_of([0, 1], [1.0, np.inf], [1.0, 2.0]), "not finite"),
        (lambda: ranks_of([0, 2], [1.0, 2.0], [1.0, 2.0]), "from 0 without a gap"),
        (lambda: grouped(np.ones((2, 2)), ["a"]), "there are 1 keys; give one for each row"),
        (lambda: from_arrays({"kind": "tally"}, {}), "lacks 'counts'"),
        (lambda: from_arrays({"kind": "other"}, {}), "kind 'other'"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_seen(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
