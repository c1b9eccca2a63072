"""Tokenizers from folders, from the hub and from older formats; what cannot be used is refused with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manyheads.errors import EncoderError
from manyheads.text.tokenizer import Tokenizer
from tokenized import columns, loaded, whole


def test_a_vocabulary_without_tokenizer_json_goes_through_transformers(
    families: dict[str, Path], tmp_path: Path
) -> None:
    vocabulary = json.loads((families["bert"] / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n", "utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    tokenizer = Tokenizer.from_encoder(tmp_path)
    text = "Aspirin lowered fever."
    assert columns(whole(tokenizer, text), slice(None)) == columns(whole(loaded(families["bert"]), text), slice(None))
    tokenizer.save(tmp_path / "saved")
    assert str(tmp_path) not in (tmp_path / "saved/tokenizer_config.json").read_text("utf-8")
    assert Tokenizer.load(tmp_path / "saved").pad_id == 0


def test_a_folder_with_tokenizer_json_is_used_directly(families: dict[str, Path]) -> None:
    assert whole(Tokenizer.from_encoder(str(families["nfkc"])), "a").ids_L.tolist()[0] == 0


def test_encoders_without_a_usable_tokenizer_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderError, match=r"has no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(EncoderError, match="has no tokenizer"):
        Tokenizer.from_encoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "canine"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(EncoderError, match=r"\(CanineTokenizer\) exists in Python code only"):
        Tokenizer.from_encoder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(EncoderError, match="cannot be read by tokenizers"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"tokenizer_config\.json is not JSON"):
        Tokenizer.load(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderError, match="no-such-owner/nothing is no local folder, and as a hub id at revision v1"):
        Tokenizer.from_encoder("no-such-owner/nothing", "v1")
    with pytest.raises(EncoderError, match="is no local folder"):
        Tokenizer.from_encoder(tmp_path / "not/here at all")
