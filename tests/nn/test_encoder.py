"""Parity of every family with its stock padded model: forward, gradient, any range of layers, any company."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    CamembertConfig,
    ConvBertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ErnieConfig,
    GPT2Config,
    LongformerConfig,
    MegatronBertConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    RoFormerConfig,
    T5Config,
    XLMRobertaConfig,
)

from manyheads.errors import EncoderError
from manyheads.nn.encoder import Encoder, PackedEncoder, PaddedEncoder, load_encoder, save_encoder, wrap
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


def test_families_go_where_they_belong() -> None:
    padded = {name for name in CONFIGS if isinstance(wrap(bare(name)), PaddedEncoder)}
    assert padded == {"mpnet", "deberta-v2", "ernie", "megatron-bert", "roformer"}
    assert isinstance(wrap(bare("modernbert")), PackedEncoder)
    assert wrap(bare("bert")).max_length == 66
    assert wrap(bare("roberta")).max_length == 64, "two positions are spent below the first"


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "distilbert", "modernbert", "mpnet", "deberta-v2"])
def test_a_saved_encoder_loads_here_and_in_plain_transformers(name: str, tmp_path: Path) -> None:
    encoder: Encoder = wrap(bare(name)).eval()
    save_encoder(encoder, tmp_path)
    assert "manyheads" not in (tmp_path / "config.json").read_text()
    windows = encodings((5, 9), False)
    again = load_encoder(str(tmp_path)).eval()
    assert torch.allclose(again(Pack.of(windows)), encoder(Pack.of(windows)), atol=1e-6)
    stock = AutoModel.from_pretrained(tmp_path).eval()
    assert torch.allclose(stock_padded(stock, windows, False), encoder(Pack.of(windows)), atol=1e-5)


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


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20, bos_token_id=1, eos_token_id=1), "no text encoders"),
        (T5Config(d_model=8, num_layers=1, vocab_size=20), "with a decoder"),
        (BertConfig(**SMALL, is_decoder=True), "with a decoder"),
    ],
)
def test_what_is_no_encoder_is_refused_by_its_configuration(config: Any, message: str, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not looked at")
    with pytest.raises(EncoderError, match=rf"{message}.*use one of bert, camembert"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ConvBertConfig(**SMALL, embedding_size=32), "answer differently"),
        (AlbertConfig(**SMALL, embedding_size=16), "layers where we do not find them"),
        (LongformerConfig(**SMALL, attention_window=8), "do not run here"),
    ],
)
def test_a_family_that_fails_its_trial_is_refused(config: Any, message: str) -> None:
    model = AutoModel.from_config(config)
    with pytest.raises(EncoderError, match=message):
        wrap(model)


def test_a_trial_leaves_the_model_as_it_was() -> None:
    model = bare("ernie").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    encoder = wrap(model)
    assert model.training
    assert encoder.training
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_sequence_past_the_maximum_is_refused() -> None:
    for name in ("bert", "mpnet"):
        encoder = wrap(bare(name))
        with pytest.raises(ValueError, match=rf"longer than the encoder's maximum of {encoder.max_length}"):
            encoder(Pack.of(encodings((encoder.max_length + 1,), False)))


def test_dropout_on_attention_weights_keeps_its_share_and_the_mean() -> None:
    """Value 1 everywhere: each output is the sum of the kept weights over 1 - p, whose mean is 1."""
    from manyheads.nn.attention import pack_attention
    from manyheads.text.pack import Segments

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


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_encoder(wrap(bare("bert")), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    save_file(
        {key: value for key, value in weights.items() if key != name}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(EncoderError, match=r"lacks encoder\.layer\.1\.output\.dense\.weight"):
        load_encoder(str(tmp_path))
    save_file({**weights, name: weights[name][:5].clone()}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"output\.dense\.weight"):
        load_encoder(str(tmp_path))
