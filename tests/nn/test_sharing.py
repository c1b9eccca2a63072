"""Branches share by object and own by copy; mixes of layers are the formula."""

from __future__ import annotations

import pytest
import torch

from manyheads.nn.encoder import Encoder
from manyheads.nn.pretrained import wrap
from manyheads.nn.sharing import ScalarMix, branched, groups_of, names_from_layer, own_parameters
from manyheads.text.pack import Pack
from nn.test_encoder import CONFIGS, LENGTHS, bare, encodings

FAMILIES = sorted(CONFIGS)


def encoder_of(name: str) -> Encoder:
    return wrap(bare(name)).eval()


def branch_from(encoder: Encoder, start: int) -> Encoder:
    return branched(encoder, names_from_layer(encoder, start).__contains__)


def storage(encoder: Encoder) -> set[int]:
    return {tensor.data_ptr() for tensor in [*encoder.parameters(), *encoder.buffers()] if tensor.numel()}


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("name", FAMILIES)
def test_a_fresh_branch_answers_as_the_encoder_does_from_any_layer(name: str, start: int) -> None:
    encoder = encoder_of(name)
    branch, pack = branch_from(encoder, start), Pack.of(encodings(LENGTHS, False))
    expected = encoder(pack)
    assert torch.equal(branch(pack), expected)
    below = encoder.layers(encoder.embed(pack), pack, 0, start)
    assert torch.allclose(branch.layers(below, pack, start, encoder.depth), expected, atol=1e-6)


@pytest.mark.parametrize("start", range(1, 4))
@pytest.mark.parametrize("name", FAMILIES)
def test_layers_below_the_start_are_the_same_objects_and_those_above_are_copies(name: str, start: int) -> None:
    encoder = encoder_of(name)
    branch = branch_from(encoder, start)
    for i, (one, two) in enumerate(zip(encoder.layer_modules(), branch.layer_modules(), strict=True)):
        for mine, other in zip(one.parameters(), two.parameters(), strict=True):
            assert (mine is other) == (i < start), i
            assert torch.equal(mine, other)
    assert all(
        mine is other
        for mine, other in zip(
            encoder.embedding_module().parameters(), branch.embedding_module().parameters(), strict=True
        )
    )
    own = own_parameters(branch, encoder)
    assert set(own) == names_from_layer(encoder, start)
    assert {id(value) for value in own.values()}.isdisjoint(map(id, encoder.parameters()))


@pytest.mark.parametrize("name", FAMILIES)
def test_at_layer_0_nothing_is_shared_not_even_storage(name: str) -> None:
    encoder = encoder_of(name)
    branch = branch_from(encoder, 0)
    assert storage(encoder).isdisjoint(storage(branch))
    assert set(own_parameters(branch, encoder)) == {key for key, _ in encoder.named_parameters()}


def test_what_runs_after_the_last_layer_belongs_to_the_branch() -> None:
    assert "model.final_norm.weight" in names_from_layer(encoder_of("modernbert"), 3)
    assert "model.encoder.relative_attention_bias.weight" in names_from_layer(encoder_of("mpnet"), 3)
    assert names_from_layer(encoder_of("bert"), 3) == frozenset()


def test_a_branch_keeps_the_mode_and_what_requires_gradients() -> None:
    encoder = encoder_of("mpnet").train()
    next(iter(encoder.layer_modules()[2].parameters())).requires_grad_(requires_grad=False)
    branch = branch_from(encoder, 1)
    assert branch.training
    assert [p.requires_grad for p in branch.parameters()] == [p.requires_grad for p in encoder.parameters()]


def test_a_mix_begins_as_the_plain_mean() -> None:
    states = list(torch.randn(4, 5, 8).unbind())
    assert torch.allclose(ScalarMix(4)(states), torch.stack(states).mean(0), atol=1e-6)


def test_a_mix_is_its_formula_and_gradients_reach_every_weight() -> None:
    torch.manual_seed(1)
    mix, states = ScalarMix(4), list(torch.randn(4, 5, 8, requires_grad=True).unbind())
    with torch.no_grad():
        mix.weight_S.copy_(torch.tensor([0.3, -1.0, 2.0, 0.1]))
        mix.gamma.fill_(1.7)
    expected = 1.7 * sum(
        share * state for share, state in zip(mix.weight_S.softmax(0), torch.stack(states), strict=True)
    )
    mixed = mix(states)
    assert torch.allclose(mixed, expected, atol=1e-6)
    weight = torch.randn_like(mixed)
    (mixed * weight).sum().backward()
    assert mix.weight_S.grad is not None
    assert mix.gamma.grad is not None
    assert (mix.weight_S.grad != 0).all()
    assert float(mix.gamma.grad) == pytest.approx(float((expected.detach() * weight).sum()) / 1.7, rel=1e-4)
    assert float(mix.weight_S.grad.sum()) == pytest.approx(0, abs=1e-4), "softmax: a common shift changes nothing"


@pytest.mark.parametrize("name", FAMILIES)
def test_states_are_those_of_layers_run_one_by_one(name: str) -> None:
    encoder, pack = encoder_of(name), Pack.of(encodings(LENGTHS, False))
    hidden_TD = encoder.layers(encoder.embed(pack), pack, 0, 1)
    states = encoder.states(hidden_TD, pack, 1, encoder.depth)
    assert len(states) == encoder.depth - 1
    for layer, state_TD in enumerate(states, 1):
        hidden_TD = encoder.layers(hidden_TD, pack, layer, layer + 1)
        assert torch.equal(state_TD, hidden_TD), layer
    assert encoder.states(hidden_TD, pack, 1, 1) == []


def test_a_pack_is_sorted_once_for_all_states(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, pack, sorted_packs = encoder_of("bert"), Pack.of(encodings(LENGTHS, False)), []
    only = Pack.only
    monkeypatch.setattr(Pack, "only", lambda self, order: sorted_packs.append(order) or only(self, order))
    encoder.states(encoder.embed(pack), pack, 0, encoder.depth)
    assert len(sorted_packs) == 1


def test_tasks_in_no_group_are_groups_of_their_own() -> None:
    groups = groups_of([("pair", ("b", "c"))], ["a", "b", "c", "d"])
    assert groups == {"pair": ("b", "c"), "a": ("a",), "d": ("d",)}
    assert groups_of([], ["a"]) == {"a": ("a",)}
