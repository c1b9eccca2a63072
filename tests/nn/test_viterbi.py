"""Decoding against enumeration of every path."""

import subprocess
import sys
from itertools import pairwise, product

import numpy as np
import pytest

from manyheads.nn import viterbi as module
from manyheads.nn.viterbi import iob2_rules, marginals, span_probabilities, span_probability, time_major, viterbi

TAGS = ["O", "B-X", "I-X", "B-Y"]


def free_rules(tags, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(tags, tags)), rng.normal(size=tags), rng.normal(size=tags)


def learned_iob2_rules(tags, seed):
    return tuple(r + f.astype(np.float32) for r, f in zip(iob2_rules(tags), free_rules(len(tags), seed), strict=True))


def draw(lengths, tags, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(length, tags)) * scale).astype(np.float32) for length in lengths]


def path_score(emissions_LK, path, rules):
    transitions_KK, start_K, end_K = (np.asarray(rule, np.float64) for rule in rules)
    score = start_K[path[0]] + end_K[path[-1]] + emissions_LK[np.arange(len(path)), list(path)].astype(np.float64).sum()
    return score + sum(transitions_KK[i, j] for i, j in pairwise(path))


def enumerated(emissions_LK, rules):
    paths = list(product(range(emissions_LK.shape[1]), repeat=len(emissions_LK)))
    return paths, np.array([path_score(emissions_LK, path, rules) for path in paths])


def enumerated_probabilities(emissions_LK, rules):
    paths, scores = enumerated(emissions_LK, rules)
    weights = np.exp(scores - scores.max())
    return paths, weights / weights.sum()


LENGTHS = [[3], [1, 1], [5, 2, 4], [0, 3, 0, 1, 5, 1, 0], [0], []]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("tags", [1, 3, 4])
def test_path_and_its_score_equal_the_best_of_all_paths(lengths, tags):
    rules, emissions = free_rules(tags, seed=tags), draw(lengths, tags, seed=1)
    found = viterbi(emissions, *rules)
    assert [len(path) for path in found] == lengths
    for emissions_LK, path in zip(emissions, found, strict=True):
        if len(path):
            paths, scores = enumerated(emissions_LK, rules)
            assert tuple(path) == paths[int(np.argmax(scores))]
            assert path_score(emissions_LK, tuple(path), rules) == pytest.approx(scores.max())


def test_path_equals_a_plain_recursion_in_torch():
    torch = pytest.importorskip("torch")
    rules, emissions = learned_iob2_rules(TAGS, seed=4), draw([17, 40, 3], 4, seed=5)
    transitions_KK, start_K, end_K = (torch.tensor(rule, dtype=torch.float64) for rule in rules)
    for emissions_LK, path in zip(emissions, viterbi(emissions, *rules), strict=True):
        scores_LK, pointers = torch.tensor(emissions_LK, dtype=torch.float64), []
        best_K = start_K + scores_LK[0]
        for scores_K in scores_LK[1:]:
            reached_K, pointer_K = (best_K[:, None] + transitions_KK).max(0)
            best_K = reached_K + scores_K
            pointers.append(pointer_K)
        expected = [int((best_K + end_K).argmax())]
        for pointer_K in reversed(pointers):
            expected.insert(0, int(pointer_K[expected[0]]))
        assert path.tolist() == expected


def test_the_score_of_the_best_path_is_what_training_computes():
    torch = pytest.importorskip("torch")
    from manyheads.nn.crf import log_likelihood

    rules, lengths = learned_iob2_rules(TAGS, seed=6), [4, 1, 3]
    emissions = draw(lengths, 4, seed=7)
    paths = viterbi(emissions, *rules)
    likelihood_S = log_likelihood(
        torch.tensor(np.concatenate(emissions)),
        torch.tensor(np.concatenate(paths)),
        lengths,
        tuple(torch.tensor(rule) for rule in rules),
    )
    for emissions_LK, path, likelihood in zip(emissions, paths, likelihood_S.tolist(), strict=True):
        everything, chances = enumerated_probabilities(emissions_LK, rules)
        assert np.exp(likelihood) == pytest.approx(chances[everything.index(tuple(path))], rel=1e-5)
        assert np.exp(likelihood) == pytest.approx(chances.max(), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 50.0, 1000.0])
def test_transitions_that_iob2_forbids_are_never_decoded(scale):
    tags = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    emissions = draw([1, 2, 30, 7], 5, seed=9, scale=scale)
    for emissions_LK in emissions:
        emissions_LK[:, 2] += scale  # tempted to stay inside
    for rules in (iob2_rules(tags), learned_iob2_rules(tags, seed=3)):
        for path in viterbi(emissions, *rules):
            assert path[0] not in (2, 4)
            assert all(j not in (2, 4) or i in (j, j - 1) for i, j in pairwise(path))


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


def spans_of(length):
    """Every place and length of an X span, and the one-word Y spans."""
    spans = [
        (start, end, [1] + [2] * (end - start - 1)) for start in range(length) for end in range(start + 1, length + 1)
    ]
    return spans + [(start, start + 1, [3]) for start in range(length)]


@pytest.mark.parametrize("length", [1, 2, 4])
def test_span_probability_equals_enumeration_of_paths_with_that_span_and_no_continuation(length):
    rules = learned_iob2_rules(TAGS, seed=length)
    emissions_LK = draw([length], 4, seed=length, scale=2.0)[0]
    paths, chances = enumerated_probabilities(emissions_LK, rules)
    spans = spans_of(length)
    found = span_probability(emissions_LK, spans, *rules)
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
    chances = span_probability(emissions_LK, spans, *rules)
    marginal_LK = marginals([emissions_LK], *rules)[0]
    for word in range(12):
        covering = sum(c for (start, end, _), c in zip(spans, chances, strict=True) if start <= word < end)
        assert covering == pytest.approx(marginal_LK[word, 1] + marginal_LK[word, 2])


def test_without_forbidden_starts_a_span_is_just_its_tags():
    rules = free_rules(3, seed=1)
    emissions_LK = draw([4], 3, seed=2)[0]
    paths, chances = enumerated_probabilities(emissions_LK, rules)
    expected = sum(c for path, c in zip(paths, chances, strict=True) if path[1:3] == (1, 2))
    assert span_probability(emissions_LK, [(1, 3, np.array([1, 2]))], *rules)[0] == pytest.approx(expected)


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
    monkeypatch.setattr(module, "CELLS", 64)  # four sequences, or sixteen rows, at once
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
    assert np.isfinite(span_probability(emissions[0], [(0, 1, path[:1]), (1990, 2000, path[1990:])], *rules)).all()
    if scale == 1.0:
        np.testing.assert_allclose(marginals(emissions, *rules)[0].sum(-1), 1.0)


def test_half_precision_emissions_are_read():
    rules, emissions = learned_iob2_rules(TAGS, seed=1), draw([6], 4, seed=1)
    half = [emissions[0].astype(np.float16)]
    assert viterbi(half, *rules)[0].tolist() == viterbi([half[0].astype(np.float64)], *rules)[0].tolist()


def test_no_spans_have_no_probabilities():
    rules = iob2_rules(TAGS)
    assert span_probability(np.zeros((3, 4)), [], *rules).shape == (0,)
    assert span_probability(np.zeros((0, 4)), [], *rules).shape == (0,)


def test_a_span_outside_its_sequence_and_foreign_emissions_are_refused():
    rules = iob2_rules(TAGS)
    with pytest.raises(ValueError, match="span 2-4 with 2 tags does not fit a sequence of 3"):
        span_probability(np.zeros((3, 4)), [(2, 4, [1, 2])], *rules)
    with pytest.raises(ValueError, match="span 0-2 with 1 tags does not fit a sequence of 0"):
        span_probability(np.zeros((0, 4)), [(0, 2, [1])], *rules)
    with pytest.raises(ValueError, match=r"emissions 1 are \(3, 5\); the transitions are for 4 tags"):
        viterbi([np.zeros((2, 4)), np.zeros((3, 5))], *rules)


def test_time_major_reads_all_first_rows_then_all_second_rows_longest_first():
    row_T, active_L, sequence_T = time_major([2, 0, 3, 1])
    assert row_T.tolist() == [2, 0, 5, 3, 1, 4]
    assert active_L.tolist() == [3, 2, 1]
    assert sequence_T.tolist() == [2, 0, 3, 2, 0, 2]


def test_rules_of_iob2_allow_an_inside_only_after_its_own_label():
    transitions_KK, start_K, end_K = iob2_rules(["O", "B-X", "I-X", "B-Y", "I-Y"])
    assert (transitions_KK[:, [0, 1, 3]] == 0).all()
    assert (transitions_KK[:, 2] == 0).tolist() == [False, True, True, False, False]
    assert (transitions_KK[:, 4] == 0).tolist() == [False, False, False, True, True]
    assert (start_K == 0).tolist() == [True, True, False, True, False]
    assert (end_K == 0).all()


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["O", "S-X"], "tag 'S-X' is not IOB2"),
        (["O", "B-"], "tag 'B-' is not IOB2"),
        (["O", "I-X"], "tag 'I-X' can never be reached: 'B-X' is not among the tags"),
        (["O", "B-X", "B-X"], "a tag is given twice"),
    ],
)
def test_tags_that_are_not_iob2_are_refused(tags, message):
    with pytest.raises(ValueError, match=message):
        iob2_rules(tags)


def test_decoding_imports_no_torch():
    code = "import sys, manyheads.nn.viterbi; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
