"""Parity of every family with its stock padded model: forward, gradient, any range of layers, any company."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ErnieConfig,
    MegatronBertConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    RoFormerConfig,
    XLMRobertaConfig,
)

from manyheads.nn.pretrained import wrap
from manyheads.text.pack import Encoding, Pack

SMALL: dict[str, Any] = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
                         "intermediate_size": 48, "max_position_embeddings": 66}  # fmt: skip
ROBERTA: dict[str, Any] = {**SMALL, "pad_token_id": 1, "type_vocab_size": 1}
CONFIGS: dict[str, Any] = {
    "bert": BertConfig(**SMALL),
    "roberta": RobertaConfig(**ROBERTA),
    "xlm-roberta": XLMRobertaConfig(**ROBERTA),
    "camembert": CamembertConfig(**ROBERTA),
    "electra": ElectraConfig(**SMALL, embedding_size=16),
    "electra-same-width": ElectraConfig(**SMALL, embedding_size=32),
    "distilbert": DistilBertConfig(vocab_size=60, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=66),
    "modernbert": ModernBertConfig(**SMALL, local_attention=8, global_attn_every_n_layers=2, pad_token_id=0, cls_token_id=2,
                                   sep_token_id=3, bos_token_id=2, eos_token_id=3),
    "mpnet": MPNetConfig(**{**SMALL, "pad_token_id": 1}),
    "deberta-v2": DebertaV2Config(**SMALL, relative_attention=True, position_buckets=16, pos_att_type=["p2c", "c2p"],
                                  norm_rel_ebd="layer_norm", share_att_key=True, type_vocab_size=0, conv_kernel_size=3,
                                  position_biased_input=False),
    # Not tested by name in the library: tried when they are loaded.
    "ernie": ErnieConfig(**SMALL),
    "megatron-bert": MegatronBertConfig(**SMALL),
    "roformer": RoFormerConfig(**SMALL, embedding_size=32),
}  # fmt: skip
LENGTHS = (1, 7, 64, 7, 7, 2, 30, 1)


def bare(name: str) -> Any:
    torch.manual_seed(3)
    config = copy.deepcopy(CONFIGS[name])
    pooler = (
        {"add_pooling_layer": False}
        if config.model_type in {"bert", "roberta", "xlm-roberta", "camembert", "mpnet", "ernie", "megatron-bert"}
        else {}
    )
    model = AutoModel.from_config(config, attn_implementation="eager", **pooler)
    for parameter in model.parameters():  # biases and norms begin at constants, which hides mistakes
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def encodings(lengths: tuple[int, ...], types: bool) -> list[Encoding]:
    generator = np.random.default_rng(0)
    made = []
    for length in lengths:
        ids = generator.integers(5, 60, length).astype(np.int32)
        kinds = (np.arange(length) > length // 2).astype(np.int32) * types
        zeros = np.zeros(length, np.int32)
        made.append(Encoding(ids, kinds, zeros, zeros, np.zeros(length, np.int8), 0))
    return made


def stock_padded(model: Any, windows: list[Encoding], types: bool) -> torch.Tensor:
    """transformers' own padded forward pass, unpadded afterwards."""
    longest = max(map(len, windows))
    ids = torch.full((len(windows), longest), model.config.pad_token_id)
    mask, kinds = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = torch.from_numpy(window.ids_L.astype(np.int64))
        kinds[row, : len(window)] = torch.from_numpy(window.type_L.astype(np.int64))
        mask[row, : len(window)] = 1
    extra = {"token_type_ids": kinds} if types else {}
    hidden: torch.Tensor = model(input_ids=ids, attention_mask=mask, **extra).last_hidden_state
    return hidden[mask.bool()]


@pytest.mark.parametrize("types", [False, True])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_hidden_states_and_gradients_are_those_of_the_stock_padded_model(name: str, types: bool) -> None:
    if types and getattr(CONFIGS[name], "type_vocab_size", 0) < 2:
        pytest.skip("the family has no token types")
    stock, ours = bare(name).eval(), wrap(bare(name)).eval()
    windows = encodings(LENGTHS, types)
    expected, got = stock_padded(stock, windows, types), ours(Pack.of(windows))
    assert torch.allclose(got, expected, atol=1e-5), float((got - expected).abs().max())
    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    (got * weight).sum().backward()
    for (key, one), two in zip(stock.named_parameters(), ours.model.parameters(), strict=True):
        if one.grad is None:
            assert two.grad is None or not two.grad.any(), key
            continue
        assert two.grad is not None, key
        assert torch.allclose(two.grad, one.grad, atol=2e-4 * max(1.0, float(one.grad.abs().max()))), key


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_any_range_of_layers_can_be_run(name: str) -> None:
    encoder = wrap(bare(name)).eval()
    pack = Pack.of(encodings(LENGTHS, False))
    hidden = encoder.embed(pack)
    for start in range(encoder.depth):
        hidden = encoder.layers(hidden, pack, start, start + 1)
    assert encoder.depth == len(encoder.layer_modules())
    assert torch.allclose(hidden, encoder(pack), atol=1e-6)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_sequence_does_not_feel_its_company(name: str) -> None:
    encoder = wrap(bare(name)).eval()
    windows = encodings(LENGTHS, False)
    together = encoder(Pack.of(windows)).split([len(window) for window in windows])
    backwards = encoder(Pack.of(windows[::-1])).split([len(window) for window in windows[::-1]])[::-1]
    for window, one, two in zip(windows, together, backwards, strict=True):
        alone = encoder(Pack.of([window]))
        assert torch.allclose(one, alone, atol=1e-5)
        assert torch.allclose(two, alone, atol=1e-5)


def test_dropout_works_in_training_and_not_in_evaluation() -> None:
    encoder = wrap(bare("bert"))
    pack = Pack.of(encodings((9, 9, 4), False))
    assert not torch.equal(encoder.train()(pack), encoder(pack))
    assert torch.equal(encoder.eval()(pack), encoder(pack))


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "modernbert", "mpnet"])
def test_every_parameter_gets_a_gradient(name: str) -> None:
    encoder = wrap(bare(name))
    encoder(Pack.of(encodings((9, 4), False))).square().sum().backward()
    assert [key for key, parameter in encoder.named_parameters() if parameter.grad is None] == []


def test_a_sequence_past_the_maximum_is_refused() -> None:
    for name in ("bert", "mpnet"):
        encoder = wrap(bare(name))
        with pytest.raises(ValueError, match=rf"longer than the encoder's maximum of {encoder.max_length}"):
            encoder(Pack.of(encodings((encoder.max_length + 1,), False)))
