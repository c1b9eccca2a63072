"""Adapters against peft itself: the same forward pass, the same merged weights, files that either side reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertModel

from manyheads.bundle.manifest import ADAPTER_FILES
from manyheads.errors import BundleError, UsageError
from manyheads.nn.encoder import Encoder
from manyheads.nn.lora import (
    CONFIG,
    WEIGHTS,
    Lora,
    adapted_layers,
    adapters_of,
    add_adapter,
    merge,
    read_adapter,
    take_adapter,
    write_adapter,
)
from manyheads.nn.pretrained import wrap
from manyheads.text.pack import Pack
from nn.test_encoder import LENGTHS, bare, encodings, stock_padded

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"
)  # peft's own model asks for it
QUERY_AND_VALUE = {
    "bert": ["query", "value"],
    "roberta": ["query", "value"],
    "electra": ["query", "value"],
    "distilbert": ["q_lin", "v_lin"],
    "modernbert": ["Wqkv"],
    "mpnet": ["q", "v"],
    "deberta-v2": ["query_proj", "value_proj"],
    "ernie": ["query", "value"],
}
WINDOWS = encodings(LENGTHS, False)
PACK = Pack.of(WINDOWS)
Bias = Literal["none", "all", "lora_only"]
BIASES: tuple[Bias, ...] = ("none", "all", "lora_only")


def encoder_of(name: str) -> Encoder:
    return wrap(bare(name)).eval()


def stirred(model: nn.Module) -> None:
    """Move all that trains away from where it begins, where adapters do nothing."""
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


def adapted(name: str, lora: Lora) -> Encoder:
    encoder = encoder_of(name)
    add_adapter(encoder, lora)
    stirred(encoder)
    return encoder.eval()


def peft_of(name: str, **settings: Any) -> Any:
    """peft's own model around the stock encoder."""
    config = LoraConfig(**{"r": 8, "lora_alpha": 16, "target_modules": QUERY_AND_VALUE[name], **settings})
    model = get_peft_model(bare(name), config)
    stirred(model)
    return model.eval()


def written(encoder: Encoder, lora: Lora, folder: Path) -> Path:
    write_adapter(take_adapter(encoder, lora, "some/base"), folder)
    return folder


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("name", sorted(QUERY_AND_VALUE))
def test_our_adapter_is_peft_s_from_the_forward_pass_to_the_merged_weights(
    name: str, bias: Bias, tmp_path: Path
) -> None:
    lora = Lora(bias=bias)
    encoder = adapted(name, lora)
    ours = encoder(PACK)
    folder = written(encoder, lora, tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(bare(name), folder).eval()
    assert torch.allclose(stock_padded(theirs, WINDOWS, False), ours, atol=1e-4)
    assert not torch.allclose(encoder_of(name)(PACK), ours, atol=1e-2), "the adapter does something"
    merge(encoder)
    assert torch.allclose(encoder(PACK), ours, atol=1e-4)
    merged = theirs.merge_and_unload().state_dict()
    weights = encoder.model.state_dict()
    assert merged.keys() == weights.keys()
    for key, value in merged.items():
        assert torch.allclose(weights[key], value, atol=1e-6), key


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("name", sorted(QUERY_AND_VALUE))
def test_a_folder_of_peft_is_read_and_merged_as_peft_merges_it(name: str, bias: Bias, tmp_path: Path) -> None:
    theirs = peft_of(name, bias=bias, r=4)
    theirs.save_pretrained(tmp_path)
    encoder = encoder_of(name)
    read_adapter(encoder, tmp_path)
    for key, value in theirs.merge_and_unload().state_dict().items():
        assert torch.allclose(encoder.model.state_dict()[key], value, atol=1e-6), key


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["query", "key", "output.dense"]},
        {"target_modules": "all-linear"},
        {"target_modules": r".*layer\.[02].*\.(query|value)"},
        {"target_modules": ["query"], "layers_to_transform": [1]},
        {"target_modules": ["query"], "init_lora_weights": "gaussian"},
    ],
)
def test_whatever_way_peft_names_its_targets_they_are_found(settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = peft_of("bert", **settings)
    theirs.save_pretrained(tmp_path)
    encoder = encoder_of("bert")
    read_adapter(encoder, tmp_path)
    for key, value in theirs.merge_and_unload().state_dict().items():
        assert torch.allclose(encoder.model.state_dict()[key], value, atol=1e-6), key


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, "has use_dora: True, which is not supported"),
        ({"use_rslora": True}, "has use_rslora: True"),
        ({"rank_pattern": {"query": 2}}, "has rank_pattern"),
        ({"alpha_pattern": {"query": 2}}, "has alpha_pattern"),
        ({"modules_to_save": ["LayerNorm"]}, "has modules_to_save"),
        ({"init_lora_weights": "pissa"}, "has init_lora_weights: pissa"),
        ({"target_modules": ["word_embeddings"]}, "adapts no linear module"),
    ],
)
def test_an_adapter_that_computes_something_else_is_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    peft_of("bert", **settings).save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(config | {"init_lora_weights": settings.get("init_lora_weights", True)}))
    with pytest.raises(BundleError, match=message):
        read_adapter(encoder_of("bert"), tmp_path)


@pytest.mark.parametrize("name", sorted(QUERY_AND_VALUE))
def test_the_defaults_are_query_and_value_of_every_layer(name: str) -> None:
    encoder = encoder_of(name)
    add_adapter(encoder, Lora())
    ends = [module.rpartition(".")[2] for module in adapters_of(encoder)]
    assert sorted(ends) == sorted(QUERY_AND_VALUE[name] * encoder.depth)
    trained = {key for key, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trained == {key for key, _ in encoder.named_parameters() if "lora_" in key}
    assert torch.allclose(encoder(PACK), encoder_of(name)(PACK), atol=1e-6), "before training it changes nothing"


@pytest.mark.parametrize("bias", BIASES)
def test_a_bias_mode_trains_its_biases_and_no_other_base_weight(bias: Bias) -> None:
    encoder = encoder_of("bert")
    add_adapter(encoder, Lora(bias=bias))
    trained = {key for key, p in encoder.named_parameters() if p.requires_grad and "lora_" not in key}
    every = {key for key, _ in encoder.named_parameters() if key.endswith("bias")}
    own = {key for key in every if "query" in key or "value" in key}
    assert trained == {"none": set(), "all": every, "lora_only": own}[bias]


def test_base_weights_are_bit_identical_after_training_and_given_back_by_merging() -> None:
    before = {key: value.clone() for key, value in encoder_of("bert").model.state_dict().items()}
    encoder = encoder_of("bert").train()
    add_adapter(encoder, Lora())
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        encoder(PACK).square().mean().backward()
        optimizer.step()
    for key, value in encoder.model.state_dict().items():
        assert "lora_" in key or torch.equal(value, before[key.replace(".base_layer", "")]), key
    replaced = merge(encoder)
    assert set(replaced) == {key for key in before if key.endswith(("query.weight", "value.weight"))}
    for key, value in encoder.model.state_dict().items():
        assert torch.equal(replaced.get(key, value), before[key]), key
        assert torch.equal(value, before[key]) == (key not in replaced)


def test_a_merged_encoder_takes_a_second_adapter() -> None:
    encoder = adapted("bert", Lora())
    merge(encoder)
    between = encoder(PACK)
    add_adapter(encoder, Lora(targets=("key",)))
    stirred(encoder)
    expected = encoder(PACK)
    assert not torch.allclose(expected, between, atol=1e-3)
    assert all(name.endswith("key") for name in take_adapter(encoder, Lora(), "x").config["target_modules"])
    merge(encoder)
    assert torch.allclose(encoder(PACK), expected, atol=1e-4)


def test_an_adapter_sits_in_the_layers_it_was_given() -> None:
    encoder = encoder_of("bert")
    add_adapter(encoder, Lora(layers=(2, 0, 2), targets=("dense",)))
    assert {name.split(".")[2] for name in adapters_of(encoder)} == {"0", "2"}
    assert len(adapters_of(encoder)) == 2 * 3
    assert adapted_layers(encoder, Lora(layers=(2, 0, 2))) == [0, 2]
    assert adapted_layers(encoder, Lora()) == [0, 1, 2]


@pytest.mark.parametrize("layers", [(3,), (0, 7), (-1,)])
def test_a_layer_that_the_encoder_does_not_have_is_refused(layers: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=rf"lora\.layers names layer {layers[-1]}, but the encoder has layers 0 to 2"):
        add_adapter(encoder_of("bert"), Lora(layers=layers))


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [
        ("bert", ("query", "q_proj"), "'q_proj' matches no linear module .* they have dense, key, query, value"),
        ("distilbert", ("query",), "'query' matches no linear module .* k_lin, lin1, lin2, out_lin, q_lin, v_lin"),
        ("modernbert", ("query",), "they have Wi, Wo, Wqkv"),
        ("bert", ("LayerNorm",), "'LayerNorm' matches no linear module"),
        ("electra", ("embeddings_project",), "'embeddings_project' matches no linear module of the chosen layers"),
    ],
)
def test_targets_that_match_nothing_are_refused_with_the_names_there_are(
    name: str, targets: tuple[str, ...], message: str
) -> None:
    encoder = encoder_of(name)
    with pytest.raises(UsageError, match=message):
        add_adapter(encoder, Lora(targets=targets))
    assert not adapters_of(encoder), "nothing was put in"


def test_rank_8_trains_under_1_percent_of_a_base_size_bert_and_saves_under_5_percent(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = BertModel(BertConfig(), add_pooling_layer=False)
    encoder = wrap(model.to_empty(device="cpu"))
    whole = sum(parameter.numel() for parameter in encoder.parameters())
    assert whole > 100e6
    add_adapter(encoder, Lora())
    trained = sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)
    assert trained == 12 * 2 * 2 * 8 * 768
    assert trained < 0.01 * whole
    folder = written(encoder, Lora(), tmp_path)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 0.05 * whole * 4


def _no_config(folder: Path) -> None:
    (folder / CONFIG).unlink()


def _not_json(folder: Path) -> None:
    (folder / CONFIG).write_text("{")


def _a_list(folder: Path) -> None:
    (folder / CONFIG).write_text("[]")


def _with(**settings: Any) -> Any:
    def change(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | settings))

    return change


def _cut_short(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-40])


def _renamed(old: str, new: str) -> Any:
    def change(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        save_file({key.replace(old, new): value for key, value in weights.items()}, folder / WEIGHTS)

    return change


def _without(end: str) -> Any:
    def change(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        save_file({key: value for key, value in weights.items() if not key.endswith(end)}, folder / WEIGHTS)

    return change


def _narrow(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    key = next(key for key in weights if "lora_B" in key)
    save_file({**weights, key: weights[key][:5].clone()}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_config, "the adapter .* cannot be read"),
        (_not_json, "the adapter .* cannot be read"),
        (_a_list, "the adapter .* cannot be read"),
        (_with(r="8"), "the adapter .* cannot be read"),
        (_with(r=0), "r is 0"),
        (_with(r=10**9), r"does not fit its configuration at .*lora_A\.weight"),
        (_with(lora_alpha=None), "the adapter .* cannot be read"),
        (_with(lora_alpha=0.5), "lora_alpha is 0.5"),
        (_with(bias="some"), "bias is 'some'"),
        (_with(peft_type="IA3"), "has peft_type: IA3, which is not supported"),
        (_with(use_dora=True), "has use_dora: True"),
        (_cut_short, "the adapter .* cannot be read"),
        (_renamed("encoder.layer", "bert.encoder.layer"), "bert.encoder.layer.*which the encoder does not have"),
        (_renamed("layer.2", "layer.7"), "layer.7.*it belongs to another base"),
        (_without("layer.1.attention.self.query.lora_B.weight"), "does not fit its configuration at .*lora_B"),
        (_without("weight"), "adapts no linear module"),
        (_narrow, "does not fit its configuration at"),
    ],
)
def test_a_damaged_adapter_is_refused(damage: Any, message: str, tmp_path: Path) -> None:
    folder = written(adapted("bert", Lora()), Lora(), tmp_path)
    damage(folder)
    with pytest.raises(BundleError, match=message):
        read_adapter(encoder_of("bert"), folder)


def test_the_model_folder_knows_peft_s_names_of_files() -> None:
    assert ADAPTER_FILES == (CONFIG, WEIGHTS)
