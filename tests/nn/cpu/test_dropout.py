"""Dropout with cheap masks: its share, its mean, its gradient, and that a model keeps its shape when it gets them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from manyheads.nn.cpu.dropout import Dropout, dropout_mask, replace_dropouts

MANY = 1_000_000


@pytest.mark.parametrize("p", [0.01, 0.1, 0.3, 0.5, 0.9])
def test_the_share_of_zeros_is_the_probability(p: float) -> None:
    torch.manual_seed(0)
    mask = dropout_mask((1000, MANY // 1000), p)
    assert mask.shape == (1000, 1000)
    assert mask.dtype == torch.float32
    assert set(mask.flatten().tolist()) == {0.0, 1.0}
    sigma = math.sqrt(p * (1 - p) / MANY)
    # The probability itself is rounded to 1 in 65,536.
    assert abs(float((mask == 0).double().mean()) - p) < 4 * sigma + 2**-17


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_are_dropped_independently(p: float) -> None:
    """Four elements come from one 64-bit word."""
    torch.manual_seed(1)
    mask = dropout_mask((MANY,), p).double()
    for shift in (1, 2, 3, 4):
        both = float((mask[shift:] * mask[:-shift]).mean())
        expected = (1 - p) ** 2
        # Products of neighbours overlap, which at most triples their variance.
        assert abs(both - expected) < 4 * math.sqrt(3 * expected * (1 - expected) / MANY) + 2**-16


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (2, 3, 4), (0, 4)])
def test_a_mask_has_any_shape(shape: tuple[int, ...]) -> None:
    mask = dropout_mask(shape, 0.5)
    assert mask.shape == shape
    assert ((mask == 0) | (mask == 1)).all()


def test_a_mask_without_dropout_keeps_everything() -> None:
    assert dropout_mask((10_000,), 0.0).all()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_mean_stays_what_it_was(p: float) -> None:
    torch.manual_seed(2)
    out = Dropout(p).train()(torch.ones(MANY))
    sigma = math.sqrt(p / (1 - p) / MANY)
    assert abs(float(out.double().mean()) - 1) < 4 * sigma + 2**-16 / (1 - p)
    assert sorted(out.unique().tolist()) == [0.0, pytest.approx(1 / (1 - p), rel=1e-6)]


def test_the_seed_decides_and_every_call_draws_anew() -> None:
    x, module = torch.ones(50, 40), Dropout(0.3)
    torch.manual_seed(9)
    first, second = module(x), module(x)
    torch.manual_seed(9)
    assert torch.equal(module(x), first)
    assert torch.equal(module(x), second)
    assert not torch.equal(first, second)
    torch.manual_seed(10)
    assert not torch.equal(module(x), first)


def test_evaluation_and_probability_0_change_nothing_and_draw_nothing() -> None:
    x = torch.randn(20, 30)
    before = torch.get_rng_state()
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)
    assert torch.equal(torch.get_rng_state(), before)


def test_probability_1_leaves_zeros() -> None:
    assert not Dropout(1.0).train()(torch.ones(100)).any()


def test_probabilities_next_to_1_keep_next_to_nothing() -> None:
    torch.manual_seed(0)
    for p in (0.9999, 0.99999, 0.999999):
        assert float(dropout_mask((MANY,), p).mean()) < 2e-4, p


def test_the_gradient_is_the_mask_over_what_is_kept() -> None:
    p = 0.2
    x = torch.randn(64, 32, requires_grad=True)
    torch.manual_seed(3)
    out = Dropout(p)(x)
    torch.manual_seed(3)
    mask = dropout_mask((64, 32), p)
    assert torch.allclose(out, x * mask / (1 - p))
    gradient = torch.randn_like(x)
    (got,) = torch.autograd.grad(out, x, gradient)
    assert torch.allclose(got, gradient * mask / (1 - p))
    assert x.grad is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_type_of_the_input_is_kept(dtype: torch.dtype) -> None:
    x = torch.randn(200, 50).to(dtype).requires_grad_()
    torch.manual_seed(4)
    out = Dropout(0.1)(x)
    torch.manual_seed(4)
    mask = dropout_mask((200, 50), 0.1).bool()
    assert out.dtype == dtype
    assert not out[~mask].any()
    near = 1e-2 if dtype == torch.bfloat16 else 1e-6
    assert torch.allclose(out[mask].double(), x[mask].double() / 0.9, rtol=near)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_an_input_that_is_not_contiguous_is_served() -> None:
    x = torch.randn(30, 20).t()
    torch.manual_seed(5)
    out = Dropout(0.5)(x)
    torch.manual_seed(5)
    assert torch.equal(out, x * dropout_mask((20, 30), 0.5) * 2)


def test_the_input_itself_is_left_alone() -> None:
    x = torch.ones(100)
    Dropout(0.5)(x)
    assert torch.equal(x, torch.ones(100))


class Loud(nn.Dropout):
    """A dropout of somebody else, which does something else."""


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.drop = nn.Dropout(0.25)
        self.loud = Loud(0.5)
        self.line = nn.Dropout1d(0.5)
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.75), nn.ModuleList([nn.Dropout(0.125)]))


def test_every_dropout_is_replaced_and_nothing_else() -> None:
    holder = Holder()
    keys, names = list(holder.state_dict()), [name for name, _ in holder.named_modules()]
    weights = dict(holder.named_parameters())
    kept_as_they_are = {name: m for name, m in holder.named_modules() if type(m) is not nn.Dropout}
    holder.inner[1].eval()
    replace_dropouts(holder)
    assert list(holder.state_dict()) == keys
    assert [name for name, _ in holder.named_modules()] == names
    assert all(dict(holder.named_parameters())[name] is weight for name, weight in weights.items())
    assert all(holder.get_submodule(name) is module for name, module in kept_as_they_are.items())
    ours = {name: m for name, m in holder.named_modules() if type(m) is Dropout}
    assert {name: m.p for name, m in ours.items()} == {"drop": 0.25, "inner.1": 0.75, "inner.2.0": 0.125}
    assert {name: m.training for name, m in ours.items()} == {"drop": True, "inner.1": False, "inner.2.0": True}
    assert type(holder.loud) is Loud
    assert type(holder.line) is nn.Dropout1d


def test_one_dropout_under_two_names_is_replaced_under_both() -> None:
    holder = nn.Module()
    holder.one = holder.two = nn.Dropout(0.5)
    replace_dropouts(holder)
    assert type(holder.one) is type(holder.two) is Dropout


def test_replacing_twice_is_replacing_once() -> None:
    holder = Holder()
    replace_dropouts(holder)
    drop = holder.drop
    replace_dropouts(holder)
    assert holder.drop is drop


@pytest.mark.parametrize("training", [True, False])
def test_a_model_of_transformers_keeps_its_names_its_mode_and_its_answers(training: bool) -> None:
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    model = BertModel(config).train(training)
    ids = torch.arange(6)[None]
    expected = model.eval()(input_ids=ids).last_hidden_state
    model.train(training)
    keys, dropouts = list(model.state_dict()), sum(type(m) is nn.Dropout for m in model.modules())
    replace_dropouts(model)
    assert list(model.state_dict()) == keys
    assert not any(type(m) is nn.Dropout for m in model.modules())
    ours = [m for m in model.modules() if type(m) is Dropout]
    assert len(ours) == dropouts > 0
    assert {m.p for m in ours} == {0.1}
    assert {m.training for m in ours} == {training}
    assert torch.equal(model.eval()(input_ids=ids).last_hidden_state, expected)
