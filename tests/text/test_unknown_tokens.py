"""Unknown tokens are counted, and a vocabulary that can never match is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manyheads.text.pack import Source
from manyheads.text.tokenizer import Tokenizer
from manyheads.text.unknown_tokens import cased_vocabulary_warning, unknown_token_share
from toys import SENTENCES


def test_known_texts_have_no_unknown_tokens_and_other_scripts_have(toy_encoder: Path) -> None:
    tokenizer = Tokenizer.load(toy_encoder)
    assert unknown_token_share(tokenizer, [Source(text) for text in SENTENCES], 48) == 0
    assert unknown_token_share(tokenizer, [Source("Жар Жар")], 48) == pytest.approx(0.5), "two of four, with [CLS] and [SEP]"
    assert unknown_token_share(tokenizer, [], 48) == 0


def test_a_cased_vocabulary_under_a_lower_casing_normalizer_is_told(toy_encoder: Path, tmp_path: Path) -> None:
    assert cased_vocabulary_warning(Tokenizer.load(toy_encoder)) is None
    said = json.loads((toy_encoder / "tokenizer.json").read_text())
    vocabulary = said["model"]["vocab"]
    said["model"]["vocab"] = {
        piece.upper() if 20 < i < 60 and not piece.startswith("[") else piece: i for piece, i in vocabulary.items()
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(said))
    assert "the tokenizer lower-cases texts, but" in str(cased_vocabulary_warning(Tokenizer.load(tmp_path)))
    said["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(said))
    assert cased_vocabulary_warning(Tokenizer.load(tmp_path)) is None
