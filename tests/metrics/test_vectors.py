"""Correlations against scipy, ranks against sorting one query at a time."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from manyheads.metrics import vectors
from manyheads.metrics.vectors import cosine, mrr, pearson, ranks, recall_at_k, spearman

VALUE = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3)) | st.sampled_from([0.0, 1.0, 2.0])
COLUMNS = st.lists(st.tuples(VALUE, VALUE), min_size=3, max_size=20)


@given(COLUMNS)
@settings(max_examples=60, deadline=None)
def test_correlations_are_those_of_scipy_and_zero_for_a_constant(pairs: list[tuple[float, float]]) -> None:
    x, y = map(list, zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = pearson(x, y), spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert ours == (0.0, 0.0)
        return
    assert ours == pytest.approx((stats.pearsonr(x, y).statistic, stats.spearmanr(x, y).statistic), abs=1e-9)


def test_constant_and_too_short_columns_give_zero_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in ([], [1.0], [2.0, 2.0, 2.0], [0.1 + 1e-17, 0.1, 0.1], [1e9, 1e9, 1e9 + 1e-7]):
            y = list(range(len(x)))
            assert pearson(x, y) == 0.0
            assert spearman(x, y) == 0.0 or len(set(x)) > 1


def test_correlations_refuse_what_is_not_finite_or_does_not_fit() -> None:
    with pytest.raises(ValueError, match="not finite"):
        pearson([1.0, float("nan")], [1.0, 2.0])
    with pytest.raises(ValueError, match="two columns of one length"):
        spearman([1.0, 2.0], [1.0])


def test_cosine_is_that_of_each_pair() -> None:
    rng = np.random.default_rng(0)
    a_BD, b_BD = rng.normal(size=(2, 5, 8)).astype(np.float32)
    expected = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(a_BD, b_BD, strict=True)]
    assert cosine(a_BD, b_BD).tolist() == pytest.approx(expected, abs=1e-6)
    assert cosine([[0.0, 0.0], [3.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]]).tolist() == [0.0, 1.0]
    assert cosine(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)
    with pytest.raises(ValueError, match="pairs of the same width"):
        cosine([[1.0]], [[1.0], [2.0]])
    with pytest.raises(ValueError, match="not finite"):
        cosine([[np.nan]], [[1.0]])


def slow_ranks(a: np.ndarray, c: np.ndarray, same: list[int]) -> list[int]:
    """By sorting, the wrong before the right among equals."""
    result = []
    for i, query in enumerate(a):
        near = c @ query / np.linalg.norm(c, axis=1) / np.linalg.norm(query)
        right = [same[j] == same[i] for j in range(len(c))]
        order = sorted(range(len(c)), key=lambda j: (-round(near[j], 9), right[j]))
        result.append(1 + next(place for place, j in enumerate(order) if right[j]))
    return result


@pytest.mark.parametrize("seed", range(4))
def test_ranks_are_those_of_a_sort_whatever_the_chunk(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    same = rng.integers(0, 12, size=30).tolist()
    texts_XD = rng.normal(size=(12, 6))
    candidates_CD = texts_XD[same]
    queries_QD = candidates_CD[:20] + rng.normal(size=(20, 6))
    expected = slow_ranks(queries_QD, candidates_CD, same)
    for cells in (1, 100, 10**6):
        monkeypatch.setattr(vectors, "CELLS", cells)
        assert ranks(queries_QD, candidates_CD, identities=same).tolist() == expected
    assert mrr(queries_QD, candidates_CD, identities=same) == pytest.approx(np.mean([1 / r for r in expected]))
    for k in (1, 3, 30):
        expected_recall = np.mean([r <= k for r in expected])
        assert recall_at_k(queries_QD, candidates_CD, k=k, identities=np.array(same)) == pytest.approx(expected_recall)


def test_a_repetition_of_the_positive_is_right_only_when_identities_say_so() -> None:
    queries, candidates = np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert ranks(queries[:1], candidates).tolist() == [2]
    assert ranks(queries[:1], candidates, identities=[7, 7]).tolist() == [1]


def test_an_encoder_that_gives_every_text_the_same_vector_scores_near_zero() -> None:
    same = np.ones((50, 4), np.float32)
    assert recall_at_k(same, same) == 0.0
    assert mrr(same, same) == pytest.approx(1 / 50)


def test_ranks_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="candidate i belongs to query i"):
        ranks(np.ones((3, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match="2 candidates but 1 identities"):
        ranks(np.ones((1, 2)), np.ones((2, 2)), identities=[1])
    with pytest.raises(ValueError, match="give rows"):
        mrr(np.ones(3), np.ones(3))
    assert mrr(np.ones((0, 2)), np.ones((4, 2))) == 0.0
    assert recall_at_k([], []) == 0.0


@given(st.integers(2, 40), st.integers(1, 70), st.integers(0, 1000))
def test_equal_vectors_are_ties_wherever_a_product_has_them(count: int, width: int, seed: int) -> None:
    same = np.tile(np.random.default_rng(seed).normal(size=width).astype(np.float32), (count, 1))
    assert (ranks(same, same) == count).all()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_ranks_do_not_depend_on_threads(threads: int) -> None:
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    draw = np.random.default_rng(0)
    queries = draw.normal(size=(300, 48)).astype(np.float32)
    candidates = np.concatenate([queries + draw.normal(size=(300, 48)), queries[:50], queries[:50]])
    with limits(1):
        expected = ranks(queries, candidates)
    with limits(threads):
        np.testing.assert_array_equal(ranks(queries, candidates), expected)
