"""The encoder that answers without transformers: bit for bit the same, and only where nothing is in doubt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from manyheads.errors import EncoderError
from manyheads.nn.encoder import PackedEncoder
from manyheads.nn.plain_bert import FAMILIES, PlainBert
from manyheads.nn.pretrained import load_checked, load_encoder, load_for_answers, save_encoder, use_stock_modules, wrap
from manyheads.nn.sharing import branched
from manyheads.text.pack import Pack
from nn.test_encoder import LENGTHS, bare, encodings

PACK = Pack.of(encodings(LENGTHS, types=True))


def saved(family: str, folder: Path) -> Path:
    save_encoder(wrap(bare(family)), folder)
    return folder


def run(encoder: Any, *, half: bool = False) -> torch.Tensor:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        states: torch.Tensor = encoder(PACK)
    return states


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_answers_are_those_of_transformers_modules_bit_for_bit(family: str, half: bool, tmp_path: Path) -> None:
    plain, stock = load_for_answers(saved(family, tmp_path)), load_encoder(str(tmp_path))
    assert isinstance(plain.model, PlainBert)
    assert not isinstance(stock.model, PlainBert)
    assert torch.equal(run(plain, half=half), run(stock, half=half))
    assert (plain.width, plain.depth, plain.max_length, plain.pad_id) == (
        stock.width, stock.depth, stock.max_length, stock.pad_id
    )  # fmt: skip
    assert plain.state_dict().keys() == stock.state_dict().keys()
    with torch.inference_mode():
        under = plain.layers(plain.embed(PACK), PACK, 0, 1)
        assert torch.equal(plain.layers(under, PACK, 1, 3), stock.layers(under, PACK, 1, 3))


@pytest.mark.parametrize("family", ["electra", "distilbert", "modernbert", "mpnet"])
def test_other_families_are_read_by_transformers(family: str, tmp_path: Path) -> None:
    encoder = load_for_answers(saved(family, tmp_path))
    assert not isinstance(encoder.model, PlainBert)
    assert torch.equal(run(encoder), run(load_encoder(str(tmp_path))))


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_stored_half_precision_becomes_float32(stored: torch.dtype, tmp_path: Path) -> None:
    file = saved("bert", tmp_path) / "model.safetensors"
    save_file({name: value.to(stored) for name, value in load_file(file).items()}, file, {"format": "pt"})
    plain = load_for_answers(tmp_path)
    assert isinstance(plain.model, PlainBert)
    assert {value.dtype for value in plain.parameters()} == {torch.float32}
    assert torch.equal(run(plain), run(load_encoder(str(tmp_path))))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "relu"}, {"hidden_act": "gelu_new"}, {"position_embedding_type": "relative_key"},
        {"chunk_size_feed_forward": 2}, {"an_unknown_key": 1}, {"id2label": {"0": "A"}}, {"layer_norm_eps": 1},
        {"pad_token_id": None}, {"eos_token_id": [1]}, {"num_hidden_layers": True}, {"is_decoder": True},
    ],
)  # fmt: skip
def test_a_setting_that_is_not_surely_known_is_left_to_transformers(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = saved("bert", tmp_path) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    asked: list[Path] = []
    monkeypatch.setattr(
        "manyheads.nn.pretrained.load_checked", lambda folder: asked.append(folder) or wrap(bare("bert"))
    )
    load_for_answers(tmp_path)
    assert asked == [tmp_path]


def _lose(file: Path) -> None:
    weights = load_file(file)
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, file, {"format": "pt"})


def _reshape(file: Path) -> None:
    weights = load_file(file)
    save_file({**weights, "embeddings.LayerNorm.bias": torch.zeros(3)}, file, {"format": "pt"})


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def _resize(file: Path) -> None:
    config = file.with_name("config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "vocab_size": 10**6}))


@pytest.mark.parametrize("damage", [_lose, _reshape, _truncate, _resize])
def test_damage_is_refused_with_the_message_of_other_loaders(damage: Callable[[Path], None], tmp_path: Path) -> None:
    damage(saved("bert", tmp_path) / "model.safetensors")
    messages = []
    for load in (load_for_answers, load_checked):
        with pytest.raises(EncoderError) as caught:
            load(tmp_path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_transformers_modules_take_over_the_same_parameters_in_all_branches(tmp_path: Path) -> None:
    encoder = load_for_answers(saved("roberta", tmp_path / "a"))
    branch = branched(encoder, lambda name: "layer.2" in name)
    before, states = dict(encoder.named_parameters()), [run(encoder), run(branch)]
    drawn = torch.get_rng_state()
    for one in (encoder, branch, encoder):
        use_stock_modules(one)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert isinstance(encoder, PackedEncoder)
    assert type(encoder.model).__name__ == "RobertaModel"
    assert {name: id(value) for name, value in encoder.named_parameters()} == {n: id(v) for n, v in before.items()}
    assert not encoder.model.training
    for state, one in zip(states, (encoder, branch), strict=True):
        assert torch.equal(run(one), state)
    shared = {id(value) for value in encoder.parameters()}
    own = [name for name, value in branch.named_parameters() if id(value) not in shared]
    assert own
    assert all("layer.2" in name for name in own)
    save_encoder(encoder, tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
