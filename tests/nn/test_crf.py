"""The CRF's likelihood against enumeration of every path."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from manyheads.nn.crf import CRF, log_likelihood, log_marginals
from manyheads.nn.forward_backward import marginals

TAGS = ["O", "B-X", "I-X", "B-Y"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def path_score(emissions_LK, path, rules):
    transitions_KK, start_K, end_K = rules
    score = start_K[path[0]] + end_K[path[-1]] + sum(emissions_LK[i, k] for i, k in enumerate(path))
    return score + sum(transitions_KK[i, j] for i, j in pairwise(path))


def brute_log_partition(emissions_LK, rules):
    paths = product(range(emissions_LK.shape[1]), repeat=len(emissions_LK))
    return torch.logsumexp(torch.stack([path_score(emissions_LK, path, rules) for path in paths]), 0)


def free_rules(tags, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((tags, tags), (tags,), (tags,))
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def draw(lengths, tags, *, seed=0, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    emissions_TK = torch.randn(sum(lengths), tags, generator=generator, dtype=torch.float64) * scale
    return emissions_TK.to(dtype), torch.randint(tags, (sum(lengths),), generator=generator)


def brute_log_likelihood(emissions_TK, tags_T, lengths, rules):
    values = []
    for emissions_LK, tags_L in zip(emissions_TK.split(lengths), tags_T.split(lengths), strict=True):
        if not len(tags_L):
            values.append(emissions_TK.new_zeros(()))
            continue
        gold = path_score(emissions_LK, tags_L.tolist(), rules)
        values.append(gold - brute_log_partition(emissions_LK, rules))
    return torch.stack(values)


LENGTHS = [[3], [1], [5, 2, 4], [0, 3, 0, 1, 5, 1, 0], [2, 2, 2], [0, 0, 4]]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("tags", [1, 2, 4])
def test_likelihood_equals_enumeration_of_all_paths(lengths, tags):
    emissions_TK, tags_T = draw(lengths, tags, seed=tags, scale=2.0)
    rules = free_rules(tags, seed=7)
    found_S = log_likelihood(emissions_TK, tags_T, lengths, rules)
    torch.testing.assert_close(found_S, brute_log_likelihood(emissions_TK, tags_T, lengths, rules))
    assert all(value == 0 for value, length in zip(found_S.tolist(), lengths, strict=True) if length == 0)


def test_likelihood_under_the_rules_of_iob2_equals_enumeration():
    torch.manual_seed(0)
    crf, lengths = CRF(TAGS), [5, 1, 3, 4]
    emissions_TK, _ = draw(lengths, 4, scale=3.0, dtype=torch.float32)
    tags_T = torch.tensor([0, 1, 2, 2, 0, 3, 1, 2, 1, 3, 0, 0, 1])
    rules = tuple(rule.detach().double() for rule in crf())
    expected_S = brute_log_likelihood(emissions_TK.double(), tags_T, lengths, rules)
    torch.testing.assert_close(log_likelihood(emissions_TK, tags_T, lengths, crf()).double(), expected_S)


def test_probabilities_of_all_paths_add_up_to_one_and_forbidden_ones_have_none():
    torch.manual_seed(1)
    crf = CRF(TAGS)
    emissions_LK, _ = draw([3], 4, seed=3)
    paths = list(product(range(4), repeat=3))
    likelihood_P = log_likelihood(
        emissions_LK.repeat(len(paths), 1), torch.tensor(paths).flatten(), [3] * len(paths), crf()
    )
    assert likelihood_P.exp().sum().item() == pytest.approx(1.0, abs=1e-6)
    for path, likelihood in zip(paths, likelihood_P.tolist(), strict=True):
        legal = path[0] != 2 and all(j != 2 or i in (1, 2) for i, j in pairwise(path))
        assert (likelihood > -100) == legal


def test_gradient_and_second_derivative_equal_finite_differences():
    lengths = [3, 0, 1, 4]
    emissions_TK, tags_T = draw(lengths, 3, seed=5)
    inputs = [tensor.clone().requires_grad_() for tensor in (emissions_TK, *free_rules(3, seed=2))]

    def likelihood(emissions_TK, *rules):
        return log_likelihood(emissions_TK, tags_T, lengths, rules)

    assert torch.autograd.gradcheck(likelihood, inputs)
    assert torch.autograd.gradgradcheck(likelihood, inputs)


def test_gradient_under_penalties_equals_that_of_enumeration():
    torch.manual_seed(2)
    crf, lengths = CRF(TAGS), [4, 2]
    emissions_TK, _ = draw(lengths, 4, seed=6, scale=3.0)
    tags_T = torch.tensor([0, 1, 2, 0, 3, 1])
    gradients = []
    for function in (log_likelihood, brute_log_likelihood):
        emissions_TK = emissions_TK.detach().requires_grad_()
        crf.zero_grad()
        function(emissions_TK, tags_T, lengths, crf()).sum().backward()
        gradients.append([emissions_TK.grad.float(), *(parameter.grad.clone() for parameter in crf.parameters())])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_sequence_has_the_same_likelihood_in_any_company_and_order():
    lengths = [5, 9, 0, 1, 9, 30, 2]
    emissions_TK, tags_T = draw(lengths, 4, seed=8, dtype=torch.float32)
    rules = free_rules(4, seed=9)
    together_S = log_likelihood(emissions_TK, tags_T, lengths, rules)
    emissions, tags = emissions_TK.split(lengths), tags_T.split(lengths)
    alone = [log_likelihood(e, t, [n], rules) for e, t, n in zip(emissions, tags, lengths, strict=True)]
    torch.testing.assert_close(together_S, torch.cat(alone), rtol=1e-6, atol=0)
    backward_S = log_likelihood(torch.cat(emissions[::-1]), torch.cat(tags[::-1]), lengths[::-1], rules)
    torch.testing.assert_close(together_S, backward_S.flip(0), rtol=1e-6, atol=0)


def test_gold_tags_that_break_the_rules_give_finite_likelihood_and_gradient():
    torch.manual_seed(0)
    crf = CRF(TAGS)
    emissions_TK, _ = draw([4, 1], 4, dtype=torch.float32)
    emissions_TK.requires_grad_()
    likelihood_S = log_likelihood(emissions_TK, torch.tensor([2, 0, 2, 2, 2]), [4, 1], crf())
    likelihood_S.sum().backward()
    assert likelihood_S.isfinite().all()
    assert (likelihood_S < -9000).all()
    assert emissions_TK.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in crf.parameters())


@pytest.mark.parametrize("scale", [30.0, 1000.0, 60000.0])
def test_emissions_of_any_size_give_finite_likelihood_and_gradient(scale):
    torch.manual_seed(0)
    crf, lengths = CRF(TAGS), [40, 7, 1, 1]
    emissions_TK, tags_T = draw(lengths, 4, seed=11, scale=scale, dtype=torch.float32)
    emissions_TK[0] = torch.tensor([-1.0, -1.0, 1.0, -1.0]) * scale  # a sequence that wants to begin inside
    emissions_TK.requires_grad_()
    likelihood_S = log_likelihood(emissions_TK, tags_T, lengths, crf())
    likelihood_S.sum().backward()
    assert likelihood_S.isfinite().all()
    assert emissions_TK.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in crf.parameters())


def test_paths_100_nats_behind_are_not_lost():
    """What float32 cannot do: O is 100 better, then I-X is 100 better, but I-X may not follow O."""
    rules = tuple(rule.detach().double() for rule in CRF(TAGS)())
    emissions_TK = torch.tensor([[100.0, 0, 0, 0], [0, 0, 100.0, 0]], dtype=torch.float64)
    tags_T = torch.tensor([1, 2])
    found_S = log_likelihood(emissions_TK, tags_T, [2], rules)
    torch.testing.assert_close(found_S, brute_log_likelihood(emissions_TK, tags_T, [2], rules))


def test_2000_rows_and_121_tags_are_finite_and_follow_the_exact_value_when_nothing_is_to_choose():
    tags = ["O", *(prefix + str(i) for i in range(60) for prefix in ("B-", "I-"))]
    torch.manual_seed(0)
    crf = CRF(tags)
    emissions_TK = torch.randn(2000, 121, requires_grad=True)
    likelihood_S = log_likelihood(emissions_TK, torch.zeros(2000, dtype=torch.int64), [2000], crf())
    likelihood_S.sum().backward()
    assert likelihood_S.isfinite().all()
    assert emissions_TK.grad.isfinite().all()
    flat = tuple(torch.zeros(shape) for shape in ((121, 121), (121,), (121,)))
    uniform_S = log_likelihood(torch.zeros(2000, 121), torch.zeros(2000, dtype=torch.int64), [2000], flat)
    assert uniform_S.item() == pytest.approx(-2000 * np.log(121), rel=1e-6)


def test_half_precision_emissions_and_autocast_are_scored_in_full():
    emissions_TK, tags_T = draw([6, 3], 4, seed=4, dtype=torch.bfloat16)
    rules = free_rules(4, seed=1)
    expected_S = log_likelihood(emissions_TK.double(), tags_T, [6, 3], rules)
    with torch.autocast("cpu", torch.bfloat16):
        found_S = log_likelihood(emissions_TK, tags_T, [6, 3], rules)
    assert found_S.dtype == torch.float32
    torch.testing.assert_close(found_S.double(), expected_S, rtol=1e-6, atol=1e-6)


def test_nothing_to_score_is_zero_with_a_gradient():
    crf = CRF(TAGS)
    emissions_TK = torch.zeros(0, 4, requires_grad=True)
    likelihood_S = log_likelihood(emissions_TK, torch.zeros(0, dtype=torch.int64), [0, 0], crf())
    assert likelihood_S.tolist() == [0.0, 0.0]
    likelihood_S.sum().backward()
    assert emissions_TK.grad.shape == (0, 4)
    assert log_likelihood(emissions_TK, torch.zeros(0, dtype=torch.int64), [], crf()).shape == (0,)


def test_rows_that_do_not_add_up_are_refused():
    emissions_TK, tags_T = draw([5], 4)
    with pytest.raises(ValueError, match="lengths add up to 4, but there are 5 emissions and 5 tags"):
        log_likelihood(emissions_TK, tags_T, [4], free_rules(4, seed=0))


def test_parameters_begin_small_and_repeatably_and_penalties_are_not_saved():
    torch.manual_seed(3)
    one = CRF(TAGS)
    torch.manual_seed(3)
    two = CRF(TAGS)
    assert set(one.state_dict()) == {"transitions_KK", "start_K", "end_K"}
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
        assert value.abs().max() <= 0.1


def test_training_learns_a_pattern_that_only_transitions_tell():
    torch.manual_seed(0)
    crf = CRF(TAGS)
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.1)
    tags_T = torch.tensor([1, 2, 0, 3] * 4)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = -log_likelihood(torch.zeros(16, 4), tags_T, [8, 8], crf()).sum()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.2 * values[0]


def brute_marginals(emissions_LK, rules):
    """Sums over every path, one by one."""
    tags = emissions_LK.shape[1]
    paths = list(product(range(tags), repeat=len(emissions_LK)))
    weight_N = torch.stack([path_score(emissions_LK, path, rules) for path in paths]).softmax(0)
    rows = [[weight_N[[i for i, path in enumerate(paths) if path[row] == tag]].sum() for tag in range(tags)]
            for row in range(len(emissions_LK))]  # fmt: skip
    return torch.stack([torch.stack(row) for row in rows])


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("tags", [1, 2, 3])
def test_marginals_and_their_gradients_are_those_of_enumeration(lengths, tags):
    emissions_TK, _ = draw(lengths, tags, scale=2.0)
    inputs = [tensor.clone().requires_grad_() for tensor in (emissions_TK, *free_rules(tags, seed=3))]
    weight_TK = torch.rand(emissions_TK.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = log_marginals(inputs[0], lengths, tuple(inputs[1:]))
    parts = [brute_marginals(part, inputs[1:]) for part in inputs[0].split(lengths) if len(part)]
    expected = torch.cat(parts).log()
    assert torch.allclose(seen, expected, atol=1e-10)
    found = torch.autograd.grad((seen * weight_TK).sum(), inputs, allow_unused=True)
    wanted = torch.autograd.grad((expected * weight_TK).sum(), inputs, allow_unused=True)
    for one, two in zip(found, wanted, strict=True):
        assert torch.allclose(
            one if one is not None else torch.zeros(1), two if two is not None else torch.zeros(1), atol=1e-9
        )


def test_marginals_are_those_of_the_decoder_and_stay_finite_past_what_floats_hold():
    crf = CRF(TAGS)
    rules = tuple(rule.detach() for rule in crf())
    emissions_TK, _ = draw([6, 3], len(TAGS), scale=3.0, dtype=torch.float32)
    seen = log_marginals(emissions_TK, [6, 3], rules).exp().numpy()
    expected = np.concatenate(
        marginals([e.numpy() for e in emissions_TK.split([6, 3])], *(rule.numpy() for rule in rules))
    )
    assert np.allclose(seen, expected, atol=1e-6)
    hard_TK = (emissions_TK * 1e4).requires_grad_()
    log_marginals(hard_TK, [6, 3], rules).sum().backward()
    assert bool(hard_TK.grad.isfinite().all())
