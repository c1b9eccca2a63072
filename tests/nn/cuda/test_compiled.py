"""Compiled layers: the same figures, the same names, and no second compilation while shapes are steady."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
)

from manyheads.nn.cuda.compiled import compile_layers
from manyheads.nn.encoder import Encoder
from manyheads.nn.pretrained import wrap
from manyheads.text.pack import STEADY, Pack, Segments, tail_lengths

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
         "max_position_embeddings": 64}  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing compiled is left over; layers written out for the CPU stand aside, as they do on CUDA."""
    monkeypatch.setattr("manyheads.nn.cpu.post_norm.by_hand", lambda layer, hidden: None)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def encoder_of(family: str = "bert") -> Encoder:
    torch.manual_seed(0)
    if family == "distilbert":
        config = DistilBertConfig(
            vocab_size=50, dim=32, n_layers=3, n_heads=2, hidden_dim=64, max_position_embeddings=64
        )
        return wrap(DistilBertModel(config)).eval()
    if family == "modernbert":
        modern = ModernBertConfig(**SMALL, global_attn_every_n_layers=2, local_attention=16, pad_token_id=0, bos_token_id=1,
                                  eos_token_id=2, cls_token_id=1, sep_token_id=2)  # fmt: skip
        return wrap(ModernBertModel(modern)).eval()
    return wrap(BertModel(BertConfig(**SMALL), add_pooling_layer=False)).eval()


def pack_of(seed: int, multiple: int = STEADY) -> Pack:
    """Other sequences for every seed: other ids, lengths, numbers of them."""
    draw = torch.Generator().manual_seed(seed)
    count = int(torch.randint(20, 30, (1,), generator=draw))
    lengths = torch.randint(2, 24 + 3 * seed, (count,), generator=draw).tolist()
    lengths += tail_lengths(lengths, multiple)
    ids_T = torch.randint(1, 50, (sum(lengths),), generator=draw)
    position_T = torch.cat([torch.arange(length) for length in lengths])
    return Pack(ids_T, position_T, torch.zeros_like(ids_T), Segments.of(lengths))


def gradient(encoder: Encoder, pack: Pack) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    encoder.zero_grad()
    hidden_TD = encoder(pack)
    hidden_TD.square().sum().backward()
    return hidden_TD.detach(), {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.long
@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_steps_of_one_shape_compile_once_and_change_no_figure(family: str) -> None:
    plain, compiled = encoder_of(family), encoder_of(family)
    counter = CompileCounterWithBackend("aot_eager")
    assert compile_layers(compiled, counter) == 3
    counts = []
    for seed in range(4):
        pack = pack_of(seed)
        assert pack.tokens == STEADY
        hidden_TD, found = gradient(compiled, pack)
        expected_TD, expected = gradient(plain, pack)
        torch.testing.assert_close(hidden_TD, expected_TD, rtol=1e-5, atol=1e-5)
        assert found.keys() == expected.keys()
        for name in found:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-4)
        counts.append(counter.frame_count)
    assert counts[0] > 0
    assert set(counts) == {counts[0]}, "other contents, lengths and numbers of sequences are no reason to compile again"
    kinds = 3 if family == "modernbert" else 1
    assert counts[0] <= 4 * kinds, "layers share what is compiled"


@pytest.mark.long
def test_in_training_mode_and_mixed_precision_too() -> None:
    encoder = encoder_of().train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    counter = CompileCounterWithBackend("aot_eager")
    compile_layers(encoder, counter)
    with torch.autocast("cpu", torch.bfloat16):
        gradient(encoder, pack_of(1))
        first = counter.frame_count
        gradient(encoder, pack_of(2))
    assert counter.frame_count == first > 0


def test_what_is_not_steady_or_keeps_no_gradient_is_not_compiled() -> None:
    encoder, plain = encoder_of(), encoder_of()
    counter = CompileCounterWithBackend("eager")
    compile_layers(encoder, counter)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(pack_of(1)), plain(pack_of(1)))
    gradient(encoder, pack_of(1, multiple=1))
    assert counter.frame_count == 0


def test_names_modules_and_saved_settings_stay() -> None:
    encoder, plain = encoder_of(), encoder_of()
    compile_layers(encoder, "eager")
    assert list(encoder.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in encoder.named_modules()] == [name for name, _ in plain.named_modules()]
    assert encoder.config.to_diff_dict() == plain.config.to_diff_dict()
    encoder.load_state_dict(plain.state_dict())


def test_a_copy_of_an_encoder_runs_its_own_layers() -> None:
    encoder = encoder_of()
    compile_layers(encoder, "eager")
    other = copy.deepcopy(encoder)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    assert not torch.allclose(encoder(pack_of(1)), other(pack_of(1)))
    assert gradient(other, pack_of(1))[1]
    assert all(p.grad is None for p in encoder.parameters())


def test_an_encoder_that_pads_and_layers_with_checkpoints_are_left_alone() -> None:
    padded = wrap(MPNetModel(MPNetConfig(**SMALL), add_pooling_layer=False))
    assert compile_layers(padded, "eager") == 0
    checked = encoder_of()
    for layer in checked.layer_modules():
        layer.gradient_checkpointing = True
    assert compile_layers(checked, "eager") == 0
