"""Linear layers of answering in bf16: near those in float32 in every family, with torch's own operators and without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel, BertConfig, DistilBertConfig, ElectraConfig, ModernBertConfig, MPNetConfig

from manyheads.nn.cpu import bf16_linear
from manyheads.nn.cpu.bf16_linear import BF16Linear, use_bf16_linears
from manyheads.nn.encoder import Encoder
from manyheads.nn.pretrained import wrap
from manyheads.text.pack import Encoding, Pack
from processors import bf16_products

SMALL = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
         "max_position_embeddings": 66}  # fmt: skip
CONFIGS = {
    "bert": BertConfig(**SMALL),
    "bert, relu": BertConfig(**SMALL, hidden_act="relu"),
    "bert, another gelu": BertConfig(**SMALL, hidden_act="gelu_new"),
    "electra": ElectraConfig(**SMALL, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=60, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=66
    ),
    "modernbert": ModernBertConfig(
        **SMALL, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3
    ),
    "mpnet, padded": MPNetConfig(**{**SMALL, "pad_token_id": 1}),
}


def encoder_of(name: str) -> Encoder:
    torch.manual_seed(0)
    return wrap(AutoModel.from_config(CONFIGS[name])).eval()


def states(encoder: Encoder, *, half: bool = True) -> torch.Tensor:
    draw = np.random.default_rng(0)
    encodings = []
    for length in (7, 31, 31, 2):
        ids, nothing = draw.integers(4, 60, length).astype(np.int32), np.zeros(length, np.int32)
        encodings.append(Encoding(ids, nothing, nothing, nothing, nothing.astype(np.int8), 0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        found: torch.Tensor = encoder(Pack.of(encodings)).float()
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_states_are_near_those_in_float32_and_those_of_rounded_linear_layers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of(name)
    exact = states(encoder, half=False)
    use_bf16_linears(encoder)
    laid_out = states(encoder)
    plain = encoder_of(name)
    monkeypatch.setattr(bf16_linear, "_tried", lambda *_, **__: None)
    use_bf16_linears(plain)
    assert not any(isinstance(module, BF16Linear) for module in plain.modules())
    bound = 1.5 * (states(plain) - exact).abs().max() + 1e-3
    assert 0 < (laid_out - exact).abs().max() < bound


@bf16_products
def test_gelu_is_part_of_the_product_where_it_is_the_exact_one() -> None:
    kinds = {}
    for name in CONFIGS:
        encoder = encoder_of(name)
        use_bf16_linears(encoder)
        kinds[name] = {module._after for module in encoder.modules() if isinstance(module, BF16Linear)}
    assert kinds == {
        "bert": {"none", "gelu"}, "bert, relu": {"none"}, "bert, another gelu": {"none"}, "electra": {"none", "gelu"},
        "distilbert": {"none"}, "modernbert": {"none"}, "mpnet, padded": set(),
    }  # fmt: skip


def without_operators(monkeypatch: pytest.MonkeyPatch, seen: Exception) -> None:
    def missing(*_: object, **__: object) -> None:
        raise seen

    monkeypatch.setattr(BF16Linear, "__init__", missing)


@pytest.mark.parametrize(
    "seen", [AttributeError("gone"), RuntimeError("no such backend"), TypeError("another signature")]
)
def test_without_the_operators_layers_stay_torchs(seen: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    without_operators(monkeypatch, seen)
    encoder = encoder_of("bert")
    use_bf16_linears(encoder)
    layers = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
    assert layers
    assert all(layer.weight.dtype == torch.bfloat16 for layer in layers)
    assert states(encoder).isfinite().all()


def test_an_operator_that_gives_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BF16Linear, "forward", lambda self, x: x.new_zeros(*x.shape[:-1], 32))
    encoder = encoder_of("bert")
    use_bf16_linears(encoder)
    assert not any(isinstance(module, BF16Linear) for module in encoder.modules())


def test_layers_that_two_encoders_share_are_rounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As private layers above shared ones have them, on a processor whose products in bf16 have no operators."""
    without_operators(monkeypatch, RuntimeError("no such backend"))
    encoder = encoder_of("bert")
    use_bf16_linears(encoder)
    wanted = states(encoder)
    use_bf16_linears(encoder)
    assert torch.equal(states(encoder), wanted)
