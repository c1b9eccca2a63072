"""Tokenizers of the toy families, loaded once, and their encodings of texts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
from hypothesis import HealthCheck, settings

from manyheads.text.pack import Encoding, Source
from manyheads.text.tokenizer import Tokenizer

ROOM = 1_000_000
"""A maximum length that nothing exceeds."""
CHARACTERS = "aäbñ\u0301\u0308 \n\t.,-(日ガのก👩\u200d🚀👍🏽️❤\x00\u200bשم\u1112\u1161\u11ab½１\ufb01A\ud800Zé_#"
relaxed = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@cache
def loaded(family: Path) -> Tokenizer:
    return Tokenizer.load(family)


def vocabulary_size(tokenizer: Tokenizer) -> int:
    return tokenizers.Tokenizer.from_str(tokenizer.definition).get_vocab_size(with_added_tokens=True)


def whole(tokenizer: Tokenizer, *texts: str) -> Encoding:
    """A text, or two, in one window."""
    (encoding,) = tokenizer.encode([Source(*texts)], ROOM)[0]
    return encoding


def columns(encoding: Encoding, positions: Any) -> list[tuple[int, ...]]:
    """Id, type, start and end of the tokens at these positions."""
    arrays = encoding.ids_L, encoding.type_L, encoding.start_L, encoding.end_L
    return list(zip(*(array[positions].tolist() for array in arrays), strict=True))
