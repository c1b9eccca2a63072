"""Special tokens are where the tokenizer's own post-processor puts them."""

from __future__ import annotations

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from manyheads.errors import EncoderError
from manyheads.text.tokenizer import Tokenizer
from tokenized import whole


def test_a_template_that_swaps_the_texts_is_refused() -> None:
    rust = tokenizers.Tokenizer(models.WordLevel({"a": 0, "[S]": 1, "[U]": 2}, unk_token="[U]"))
    rust.post_processor = processors.TemplateProcessing(single="$A [S]", pair="$B [S] $A", special_tokens=[("[S]", 1)])
    with pytest.raises(EncoderError, match="does not put the first text before the second"):
        Tokenizer(rust)


def test_a_tokenizer_that_finds_nothing_is_refused_and_one_without_specials_is_not() -> None:
    with pytest.raises(EncoderError, match="finds no token"):
        Tokenizer(tokenizers.Tokenizer(models.BPE()))
    rust = tokenizers.Tokenizer(models.WordLevel({"a": 0, "[U]": 1}, unk_token="[U]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = Tokenizer(rust)
    assert (tokenizer.special_tokens(False), tokenizer.special_tokens(True), tokenizer.pad_id) == (0, 0, 0)
    assert whole(tokenizer, "a b", "b a a").part_L.tolist() == [0, 0, 1, 1, 1]
    assert whole(tokenizer, "", "").ids_L.tolist() == []
