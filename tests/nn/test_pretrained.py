"""Encoders are saved for plain transformers, and loaded only from what leaves nothing to chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, GPT2Config, T5Config

from manyheads.errors import EncoderError
from manyheads.nn.encoder import Encoder, PackedEncoder
from manyheads.nn.padded_encoder import PaddedEncoder
from manyheads.nn.pretrained import load_encoder, save_encoder, wrap
from manyheads.text.pack import Pack
from nn.test_encoder import CONFIGS, SMALL, bare, encodings, stock_padded


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


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20, bos_token_id=1, eos_token_id=1),
            "are not text encoders",
        ),
        (T5Config(d_model=8, num_layers=1, vocab_size=20), "with a decoder"),
        (BertConfig(**SMALL, is_decoder=True), "with a decoder"),
    ],
)
def test_what_is_no_encoder_is_refused_by_its_configuration(config: Any, message: str, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not looked at")
    with pytest.raises(EncoderError, match=rf"{message}.*use one of bert, camembert"):
        load_encoder(str(tmp_path))


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
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
