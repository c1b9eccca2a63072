"""Where encoders are looked for, and what is said when they are nowhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from manyheads.bundle import read_manifest
from manyheads.errors import BundleError, EncoderError
from manyheads.hub.download import model_folder
from manyheads.nn import resolve_encoder as module
from manyheads.nn.pretrained import load_encoder
from manyheads.nn.resolve_encoder import resolve_encoder
from manyheads.text.pack import Pack, Source
from manyheads.text.tokenizer import Tokenizer


def test_a_local_folder_comes_first(toy_encoder: Path) -> None:
    assert resolve_encoder(str(toy_encoder)).origin == "folder"


def test_the_bundled_encoder_is_that_of_sentence_transformers() -> None:
    """Mean pooling over our packs gives the vectors that sentence-transformers gives."""
    from sentence_transformers import SentenceTransformer

    found = resolve_encoder("all-MiniLM-L6-v2")
    assert found.origin == "bundled"
    texts = ["Aspirin lowered fever.", "A man is playing a large flute in the park.", "x"]
    tokenizer, encoder = Tokenizer.from_encoder(found.path_or_id), load_encoder(found.path_or_id).eval()
    windows = [windows[0] for windows in tokenizer.encode([Source(text) for text in texts], 256)]
    with torch.inference_mode():
        hidden = encoder(Pack.of(windows)).split([len(window) for window in windows])
    ours = torch.nn.functional.normalize(torch.stack([part.mean(0) for part in hidden]), dim=-1)
    theirs = SentenceTransformer(found.path_or_id, device="cpu").encode(texts, convert_to_tensor=True)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_bundled_weights_with_another_hash_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHA256", "0" * 64)
    module.bundled_encoder.cache_clear()
    with pytest.raises(EncoderError, match="expected 0000"):
        resolve_encoder("all-MiniLM-L6-v2")
    module.bundled_encoder.cache_clear()


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EncoderError, match=r"has no \.safetensors file"):
        resolve_encoder(str(tmp_path))


@pytest.mark.parametrize("name", ["no-such-encoder", "nobody/no-such-encoder", "a/b/c"])
def test_an_unknown_name_lists_the_places_tried_and_soon(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(EncoderError, match=r"was not found; tried the folder .*, the bundled encoders .*, the hub"):
        resolve_encoder(name)
    assert time.monotonic() - started < 30


def test_the_folder_of_a_trained_model_is_told_with_its_encoder(young_model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        EncoderError, match=rf"is the folder of a trained model, .*; give {young_model}/encoder for its"
    ):
        resolve_encoder(str(young_model))
    assert resolve_encoder(str(young_model / "encoder")).origin == "folder"
    (tmp_path / "manyheads.json").write_text("{}")
    with pytest.raises(EncoderError, match="its encoder's weights are elsewhere; give the encoder it was trained on"):
        resolve_encoder(str(tmp_path))


def test_an_adapter_without_its_base_is_told_with_the_name_of_that(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    for said, name in (('{"base_model_name_or_path": "some/base"}', ", 'some/base'; merge"), ("{", "; merge")):
        (tmp_path / "adapter_config.json").write_text(said)
        with pytest.raises(EncoderError, match=f"is a peft adapter .* without its base encoder{name}"):
            resolve_encoder(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["./here", "../up", "/root/x", "~/x", "a/b/c", "runs/first", "below/x", "x/", "C:\\models\\x"]
)
def test_the_hub_is_never_asked_for_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    with pytest.raises(EncoderError, match=r"the hub \(not asked: this is a path\)"):
        resolve_encoder(name)
    with pytest.raises(BundleError, match="is not a folder; give the output folder of a finished training"):
        model_folder(name) and read_manifest(model_folder(name))


@pytest.mark.parametrize("name", ["somebody/an-encoder", "an-encoder"])
def test_the_hub_is_asked_for_what_is_no_path(name: str, toy_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(toy_encoder))
    assert resolve_encoder(name).origin == "hub"
