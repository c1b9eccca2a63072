"""The pool of candidates and the choice among them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.annotation.choose import STRATEGIES, choose, pool_size
from manyheads.annotation.diversity import Points, cover, spread
from manyheads.annotation.identity import row_key
from manyheads.annotation.pool import Candidate, Pool


def candidate(number: int, score: float) -> Candidate:
    residual = np.array([score / 2, -score / 2], np.float32)
    return Candidate({"text": f"row {number}"}, row_key({"text": f"row {number}"}), score, residual)


@given(scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75]), max_size=40), limit=st.integers(1, 12))
def test_a_pool_keeps_the_best_of_a_stream_and_the_first_of_equal_ones(scores: list[float], limit: int) -> None:
    pool = Pool(limit)
    for number, score in enumerate(scores):
        pool.add(candidate(number, score))
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:limit]
    assert [one.row["text"] for one in pool.best()] == [f"row {i}" for i in expected]


def test_equal_texts_are_one_candidate() -> None:
    pool = Pool(10)
    for text in ("Fever fell.", "fever  fell.", "Fever rose."):
        pool.add(Candidate({"text": text}, row_key({"text": text}), 0.5))
    assert [one.row["text"] for one in pool.best()] == ["Fever fell.", "Fever rose."]
    assert pool.duplicates == 1


@given(seed=st.integers(0, 1000))
def test_distances_of_products_are_those_of_the_products_themselves(seed: int) -> None:
    draws = np.random.default_rng(seed)
    left, right = draws.normal(size=(7, 3)), draws.normal(size=(7, 4))
    whole = np.einsum("na,nb->nab", left, right).reshape(7, -1)
    np.testing.assert_allclose(Points([left, right]).distances(2), ((whole - whole[2]) ** 2).sum(-1), atol=1e-9)


def test_far_groups_are_each_drawn_from_before_any_twice() -> None:
    draws = np.random.default_rng(0)
    centres = np.eye(5) * 100
    points = Points([np.concatenate([centre + draws.normal(size=(20, 5)) for centre in centres])])
    for chosen in (spread(points, np.ones(100), 5, seed=1), cover(points, 5)):
        assert {place // 20 for place in chosen} == set(range(5))


def test_greedy_centres_are_within_twice_the_best_radius() -> None:
    draws = np.random.default_rng(4)
    points = draws.normal(size=(12, 2))
    chosen = cover(Points([points]), 3)

    def radius(places: tuple[int, ...]) -> float:
        return float(np.sqrt(((points[:, None] - points[list(places)]) ** 2).sum(-1).min(-1).max()))

    best = min(radius((a, b, c)) for a in range(12) for b in range(a) for c in range(b))
    assert radius(tuple(chosen)) <= 2 * best + 1e-9


def test_points_without_weight_come_last_and_coinciding_points_do_not_stop_the_choice() -> None:
    points = Points([np.zeros((6, 3))])
    assert sorted(spread(points, np.array([0.1, 0.9, 0.3, 0.2, 0.5, 0.4]), 6, 0)) == list(range(6))
    assert spread(points, np.array([0.1, 0.9, 0.3, 0.2, 0.5, 0.4]), 3, 0) == [1, 4, 5]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_gives_as_many_different_rows_as_asked_for_and_the_same_again(strategy: str) -> None:
    draws = random.Random(2)
    pool = Pool(pool_size(strategy, 8))
    for number in range(60):
        pool.add(candidate(number, draws.random()))
    vectors = {one.key: np.random.default_rng(i).normal(size=4) for i, one in enumerate(pool.best())}

    def chosen(seed: int) -> list[str]:
        found = choose(strategy, pool.best(), 8, seed, lambda some: np.array([vectors[one.key] for one in some]))
        return [one.row["text"] for one in found]

    assert len(set(chosen(0))) == 8
    assert chosen(0) == chosen(0)


def test_tokens_and_their_text_are_the_same_row_and_questions_count() -> None:
    assert row_key({"tokens": ["Fever", "fell", "."]}) == row_key({"text": "Fever fell."})
    asked = [row_key({"text": "A", "question": question}) for question in ("Who?", "When?")]
    assert asked[0] != asked[1] != row_key({"text": "A"})
