"""Tokenizers from folders, from the hub and from older formats; what cannot be used is refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from manyheads.errors import EncoderError
from manyheads.text.tokenizer import Tokenizer
from tokenized import columns, loaded, vocabulary_size, whole


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
    with pytest.raises(EncoderError, match=r"\(CanineTokenizer\) exists only as Python code"):
        Tokenizer.from_encoder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(EncoderError, match="cannot be read by tokenizers"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"tokenizer_config\.json is not JSON"):
        Tokenizer.load(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderError, match="no-such-owner/nothing is not a local folder, and cannot be loaded from the hub at revision v1"):
        Tokenizer.from_encoder("no-such-owner/nothing", "v1")
    with pytest.raises(EncoderError, match="is not a local folder"):
        Tokenizer.from_encoder(tmp_path / "not/here at all")


@pytest.fixture
def spoilt(families: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """A good tokenizer with parts of its JSON replaced, and a config.json beside it."""

    def made(config: object = None, **parts: object) -> Path:
        whole = json.loads((families["bert"] / "tokenizer.json").read_text("utf-8"))
        (tmp_path / "tokenizer.json").write_text(json.dumps(whole | parts))
        (tmp_path / "config.json").write_text(json.dumps(config or {"vocab_size": 100_000}))
        return tmp_path

    return made


def _refusal(folder: Path, capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(EncoderError) as caught:
        Tokenizer.load(folder)
    assert "panicked" not in capfd.readouterr().err
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_expressions_growth_and_templates_of_strangers_are_refused(
    spoilt: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    split = {"type": "Split", "pattern": {"Regex": r"(\\w+)+;"}, "behavior": "Isolated", "invert": False}
    assert "may take forever: it repeats (+) a group whose content varies" in _refusal(
        spoilt(pre_tokenizer=split), capfd
    )
    inside = {"type": "Sequence", "pretokenizers": [split]}
    assert "may take forever" in _refusal(spoilt(pre_tokenizer=inside), capfd)
    replace = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
    longer = {"type": "Sequence", "normalizers": [replace, replace]}
    assert "makes texts more than 64 times longer" in _refusal(spoilt(normalizer=longer), capfd)
    assert "map of characters is damaged" in _refusal(
        spoilt(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA////"}), capfd
    )
    pieces = [{"SpecialToken": {"id": "[NO]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    template = {
        "type": "TemplateProcessing",
        "single": pieces,
        "pair": [*pieces, {"Sequence": {"id": "B", "type_id": 1}}],
    }
    assert "it does not define" in _refusal(spoilt(post_processor={**template, "special_tokens": {}}), capfd)
    known = {"[NO]": {"id": "[NO]", "ids": [10**6], "tokens": ["[NO]"]}}
    assert "has the id 1000000, but" in _refusal(spoilt(post_processor={**template, "special_tokens": known}), capfd)
    padding = {"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
               "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
    assert "pads to {'Fixed': 1000000000000}" in _refusal(spoilt(padding=padding), capfd)


def test_ids_are_those_of_the_encoder_beside(spoilt: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    size = vocabulary_size(Tokenizer.load(spoilt()))
    assert size > 20
    assert vocabulary_size(Tokenizer.load(spoilt({"vocab_size": size}))) == size
    message = _refusal(spoilt({"vocab_size": size - 1}), capfd)
    assert f"has the id {size - 1}, but the encoder has {size - 1} by its config.json" in message
    assert "it has the token type 1, but" not in message
    assert vocabulary_size(Tokenizer.load(spoilt({"vocab_size": size, "type_vocab_size": 2}))) == size
    (spoilt() / "config.json").unlink()
    assert vocabulary_size(Tokenizer.load(spoilt().parent / spoilt().name)) == size


def test_vocabularies_out_of_proportion_are_refused_before_they_are_read(
    spoilt: Callable[..., Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9,
            "vocab": {f"a{i}": i for i in range(110_000)}}  # fmt: skip
    assert "strings, too many for a vocabulary of 50" in _refusal(spoilt({"vocab_size": 50}, model=many), capfd)
    monkeypatch.setattr("manyheads.text.tokenizer_checks.MOST_PIECES_BYTES", 1000)
    tree = {"type": "Unigram", "unk_id": 0, "vocab": [["x" * 99, -1.0]] * 20, "byte_fallback": False}
    assert "its pieces have 1,980 bytes together" in _refusal(spoilt(model=tree), capfd)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"pad_token": 7}', "has a 'pad_token' that is not a text"),
        ('{"pad_token": {"text": "x"}}', "has a 'pad_token' that is not a text"),
        ('{"pad_token": "a", "pad_token": "b"}', "is given twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_settings_of_strangers_are_refused(
    spoilt: Callable[..., Path], text: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (spoilt() / "tokenizer_config.json").write_text(text)
    assert message in _refusal(spoilt(), capfd)


def test_links_out_of_the_folder_are_not_followed(
    spoilt: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, other = spoilt(), tmp_path_factory.mktemp("other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).touch()
        (folder / name).rename(other / name)
        (folder / name).symlink_to(other / name)
        assert "is a link that leaves its folder" in _refusal(folder, capfd)
        (folder / name).unlink()
        spoilt()


def test_older_formats_are_read_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_text("a\n" * 1_000_001)
    with pytest.raises(EncoderError, match=r"vocab\.txt has more than 1,000,000 lines"):
        Tokenizer.from_encoder(tmp_path)
