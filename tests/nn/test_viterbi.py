"""Best paths against enumeration of every path."""

import subprocess
import sys
from itertools import pairwise, product

import numpy as np
import pytest

from manyheads.nn.iob2 import iob2_rules
from manyheads.nn.viterbi import viterbi

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


def test_half_precision_emissions_are_read():
    rules, emissions = learned_iob2_rules(TAGS, seed=1), draw([6], 4, seed=1)
    half = [emissions[0].astype(np.float16)]
    assert viterbi(half, *rules)[0].tolist() == viterbi([half[0].astype(np.float64)], *rules)[0].tolist()


def test_decoding_imports_no_torch():
    code = "import sys, manyheads.nn.viterbi, manyheads.nn.forward_backward; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
