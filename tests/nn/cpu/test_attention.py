"""Attention over packs on a CPU: sequences that are read on into what follows see no more than themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from manyheads.nn.cpu.attention import FEW_OVER, LANES
from manyheads.nn.encoder import pack_attention
from manyheads.text.pack import Segments
from processors import bf16_attention

HEADS, WIDTH = 3, 8


def states(tokens: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Query, key and value as transformers hand them over, `(1, H, T, D)`."""
    draw = torch.Generator().manual_seed(tokens)
    return [torch.randn(1, tokens, HEADS, WIDTH, generator=draw).to(dtype).transpose(1, 2) for _ in range(3)]


def attended(lengths: list[int], inputs: list[torch.Tensor]) -> torch.Tensor:
    out, _ = pack_attention(torch.nn.Module(), *inputs, None, segments=Segments.of(lengths), scaling=0.3)
    return out[0]


def one_by_one(lengths: list[int], inputs: list[torch.Tensor]) -> torch.Tensor:
    parts = zip(*(x.split(lengths, dim=2) for x in inputs), strict=True)
    return torch.cat([scaled_dot_product_attention(*part, scale=0.3)[0].transpose(0, 1) for part in parts])


@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=8))
def test_each_sequence_sees_itself_alone(lengths: list[int]) -> None:
    inputs = states(sum(lengths))
    torch.testing.assert_close(attended(lengths, inputs), one_by_one(lengths, inputs), atol=2e-6, rtol=0)


@pytest.mark.parametrize("lengths", [[31], [31, 31, 31], [20, 31, 31, 5],
                                     pytest.param([5, 127], marks=bf16_attention), [LANES + FEW_OVER + 1] * 2])  # fmt: skip
def test_in_half_precision_too(lengths: list[int]) -> None:
    inputs = states(sum(lengths), torch.bfloat16)
    found = attended(lengths, inputs)
    assert found.dtype == torch.bfloat16
    wanted = one_by_one(lengths, [x.float() for x in inputs])
    torch.testing.assert_close(found.float(), wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize("lengths", [[31, 40], [31, 31, 40], [60]])
def test_what_follows_a_sequence_changes_nothing_in_it(lengths: list[int]) -> None:
    inputs = states(sum(lengths))
    found = attended(lengths, inputs)[: lengths[0]]
    changed = [x.clone() for x in inputs]
    for x in changed:
        x[:, :, lengths[0] :] = 1e30
    assert attended(lengths, changed)[: lengths[0]].equal(found)
    alone = [x[:, :, : lengths[0]] for x in inputs]
    assert attended(lengths[:1], alone).equal(found)


def test_gradients_are_those_of_each_sequence_alone() -> None:
    lengths = [31, 31, 20]
    inputs = [x.requires_grad_() for x in states(sum(lengths))]
    found = torch.autograd.grad(attended(lengths, inputs).square().sum(), inputs)
    wanted = torch.autograd.grad(one_by_one(lengths, inputs).square().sum(), inputs)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_dropout_on_attention_weights_keeps_its_share_and_the_mean() -> None:
    """Value 1 everywhere: each output is the sum of the kept weights over 1 - p, whose mean is 1."""
    torch.manual_seed(0)
    lengths = (40, 40, 7, 120, 1)
    tokens = sum(lengths)
    query, key = torch.zeros(2, 1, 4, tokens, 8).unbind()
    value = torch.ones(1, 4, tokens, 8)
    module = torch.nn.Module().train()
    for dropout in (0.1, 0.5):
        out, _ = pack_attention(
            module, query, key, value, None, segments=Segments.of(lengths), scaling=1.0, dropout=dropout
        )
        assert float(out.mean()) == pytest.approx(1.0, abs=0.03)
        alone = out[0, -1]  # a sequence of one token: its one weight is kept, or not
        assert all(weight in (0.0, pytest.approx(1 / (1 - dropout))) for weight in alone.flatten().tolist())
    again = [torch.manual_seed(5) and pack_attention(
        module, query, key, value, None, segments=Segments.of(lengths), scaling=1.0, dropout=0.3)[0] for _ in range(2)
    ]  # fmt: skip
    assert torch.equal(*again), "the seed decides"
