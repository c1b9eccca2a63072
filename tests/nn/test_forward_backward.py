"""Probabilities of tags and spans against enumeration of every path."""

import numpy as np
import pytest

from manyheads.nn import time_major
from manyheads.nn.forward_backward import marginals, span_probabilities
from manyheads.nn.iob2 import iob2_rules
from manyheads.nn.viterbi import viterbi
from nn.test_viterbi import LENGTHS, TAGS, draw, enumerated_probabilities, free_rules, learned_iob2_rules


def spans_of(length):
    """Every place and length of an X span, and the one-word Y spans."""
    spans = [
        (start, end, [1] + [2] * (end - start - 1)) for start in range(length) for end in range(start + 1, length + 1)
    ]
    return spans + [(start, start + 1, [3]) for start in range(length)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_marginals_equal_enumeration(lengths):
    for rules in (free_rules(4, seed=2), learned_iob2_rules(TAGS, seed=2)):
        emissions = draw(lengths, 4, seed=3, scale=2.0)
        for emissions_LK, found_LK in zip(emissions, marginals(emissions, *rules), strict=True):
            assert found_LK.shape == emissions_LK.shape
            if not len(emissions_LK):
                continue
            paths, chances = enumerated_probabilities(emissions_LK, rules)
            expected_LK = np.zeros(found_LK.shape)
            for path, chance in zip(paths, chances, strict=True):
                expected_LK[np.arange(len(path)), list(path)] += chance
            np.testing.assert_allclose(found_LK, expected_LK, atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_span_probability_equals_enumeration_of_paths_with_that_span_and_no_continuation(length):
    rules = learned_iob2_rules(TAGS, seed=length)
    emissions_LK = draw([length], 4, seed=length, scale=2.0)[0]
    paths, chances = enumerated_probabilities(emissions_LK, rules)
    spans = spans_of(length)
    found = span_probabilities([emissions_LK], [spans], *rules)[0]
    for (start, end, tags), chance in zip(spans, found, strict=True):
        expected = sum(
            c for path, c in zip(paths, chances, strict=True)
            if list(path[start:end]) == tags and (end == length or path[end] != 2)
        )  # fmt: skip
        assert chance == pytest.approx(expected, abs=1e-9)
    assert 0 < found.min() < found.max() <= 1


def test_chances_of_all_spans_of_a_label_that_cover_a_word_add_up_to_its_marginals():
    rules = learned_iob2_rules(TAGS, seed=8)
    emissions_LK = draw([12], 4, seed=8)[0]
    spans = [span for span in spans_of(12) if span[2][0] == 1]
    chances = span_probabilities([emissions_LK], [spans], *rules)[0]
    marginal_LK = marginals([emissions_LK], *rules)[0]
    for word in range(12):
        covering = sum(c for (start, end, _), c in zip(spans, chances, strict=True) if start <= word < end)
        assert covering == pytest.approx(marginal_LK[word, 1] + marginal_LK[word, 2])


def test_without_forbidden_starts_a_span_is_just_its_tags():
    rules = free_rules(3, seed=1)
    emissions_LK = draw([4], 3, seed=2)[0]
    paths, chances = enumerated_probabilities(emissions_LK, rules)
    expected = sum(c for path, c in zip(paths, chances, strict=True) if path[1:3] == (1, 2))
    assert span_probabilities([emissions_LK], [[(1, 3, np.array([1, 2]))]], *rules)[0][0] == pytest.approx(expected)


def test_many_sequences_at_once_equal_one_by_one_also_across_batches(monkeypatch):
    lengths = [3, 0, 9, 1, 1, 25, 9, 0, 4]
    rules, emissions = learned_iob2_rules(TAGS, seed=5), draw(lengths, 4, seed=6)
    spans = [spans_of(length)[: length // 2] for length in lengths]

    def everything(emissions, spans):
        return (
            viterbi(emissions, *rules),
            marginals(emissions, *rules),
            span_probabilities(emissions, spans, *rules),
        )

    together = everything(emissions, spans)
    alone = [everything([e], [s]) for e, s in zip(emissions, spans, strict=True)]
    monkeypatch.setattr(time_major, "CELLS", 64)  # four sequences, or sixteen rows, at once
    in_batches = everything(emissions, spans)
    for kind in range(3):
        for index in range(len(lengths)):
            np.testing.assert_allclose(together[kind][index], alone[index][kind][0], atol=1e-12)
            np.testing.assert_allclose(together[kind][index], in_batches[kind][index], atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 60000.0])
def test_2000_rows_and_121_tags_stay_finite(scale):
    tags = ["O", *(prefix + str(i) for i in range(60) for prefix in ("B-", "I-"))]
    rules, emissions = learned_iob2_rules(tags, seed=0), draw([2000, 3], 121, seed=0, scale=scale)
    path = viterbi(emissions, *rules)[0]
    assert len(path) == 2000
    assert np.isfinite(marginals(emissions, *rules)[0]).all()
    assert np.isfinite(
        span_probabilities([emissions[0]], [[(0, 1, path[:1]), (1990, 2000, path[1990:])]], *rules)[0]
    ).all()
    if scale == 1.0:
        np.testing.assert_allclose(marginals(emissions, *rules)[0].sum(-1), 1.0)


def test_no_spans_have_no_probabilities():
    rules = iob2_rules(TAGS)
    assert span_probabilities([np.zeros((3, 4))], [[]], *rules)[0].shape == (0,)
    assert span_probabilities([np.zeros((0, 4))], [[]], *rules)[0].shape == (0,)


def test_a_span_outside_its_sequence_and_foreign_emissions_are_refused():
    rules = iob2_rules(TAGS)
    with pytest.raises(ValueError, match="span 2-4 with 2 tags does not fit a sequence of 3"):
        span_probabilities([np.zeros((3, 4))], [[(2, 4, [1, 2])]], *rules)
    with pytest.raises(ValueError, match="span 0-2 with 1 tags does not fit a sequence of 0"):
        span_probabilities([np.zeros((0, 4))], [[(0, 2, [1])]], *rules)
    with pytest.raises(ValueError, match=r"emissions 1 are \(3, 5\); the transitions are for 4 tags"):
        viterbi([np.zeros((2, 4)), np.zeros((3, 5))], *rules)
