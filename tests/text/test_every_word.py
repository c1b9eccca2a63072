"""Every word of every text has a token that speaks for it, whatever the tokenizer; offsets of tokens are exact.

`MANYHEADS_TEXTS` is the number of random texts for each kind of tokenizer; 20,000 is the full form.
"""

from __future__ import annotations

import os
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from manyheads.text.pack import Source
from manyheads.text.tokenizer import Tokenizer
from manyheads.text.windows import owned
from manyheads.text.words import first_pieces, places_in_pieces, within, words

pytestmark = pytest.mark.timeout(3600)
TEXTS = int(os.environ.get("MANYHEADS_TEXTS", "300"))
SCRIPTS = {
    "Latin": "abcdeéñßÅzZ", "Greek": "αβγΔώ", "Cyrillic": "абвЖё", "Hebrew": "שלםאב", "Arabic": "مرحبا\u0651ي",
    "Devanagari": "क्षमनत\u093eि", "Thai": "กรุงเทพป็นมื", "Lao": "ລາວ\u0eb5", "Khmer": "ខ្មែរ", "Myanmar": "မြန်မာ",
    "Han": "北京天安门我爱東", "kana": "ひらがなカタカナーｶﾞ", "Hangul": "서울에서\u1112\u1161\u11ab", "Tamil": "தமிழ்", "Georgian": "ქართ",
    "Armenian": "հայ", "Ethiopic": "አማርኛ", "digits": "0123٣½②", "marks": "\u0301\u0308\u20dd", "symbols": "±€$+=°©™→",
    "punctuation": ".,;:!?-()[]'\"…、。·_/#@", "emoji": "🙂🥳👍🏽👩\u200d🚀❤️🇩🇪",
    "spaces": " \t\n\u00a0\u3000\u2009", "control": "\x00\x07\x1f\x85\u200b\u200c\u200d\u00ad\ufeff\u2028", "odd": "\ufffd\U000f0000\ue000\u0378\ud800",
}  # fmt: skip
SEEN = [
    "COVID-19 (IL-6) rose 3.5%.",
    "我爱北京天安门",
    "กรุงเทพเป็นเมือง",
    "C++ at example.com: 1,000 £!",
    "ひらがなカタカナ 서울에서",
]


def finished(rust: tokenizers.Tokenizer) -> Tokenizer:
    rust.add_special_tokens(["<s>", "</s>"])
    ends = [(name, rust.token_to_id(name)) for name in ("<s>", "</s>")]
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
    )
    return Tokenizer(rust)


def trained(model: object, trainer: object, *, cut: object, normalizer: object = None) -> Tokenizer:
    rust = tokenizers.Tokenizer(model)
    rust.pre_tokenizer = cut
    if normalizer is not None:
        rust.normalizer = normalizer
    rust.train_from_iterator(SEEN * 4, trainer)
    return finished(rust)


def wordpiece(*, lowercase: bool) -> Tokenizer:
    return trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False),
        cut=pre_tokenizers.BertPreTokenizer(), normalizer=normalizers.BertNormalizer(lowercase=lowercase),
    )  # fmt: skip


def unigram(cut: object) -> Tokenizer:
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    return trained(models.Unigram(), trainer, cut=cut, normalizer=normalizers.NFKC())


def byte_pairs(*, regex: bool) -> Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trained(
        models.BPE(), trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False),
        cut=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex),
    )  # fmt: skip


def character_pairs() -> Tokenizer:
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False)
    return trained(models.BPE(unk_token="<unk>"), trainer, cut=pre_tokenizers.WhitespaceSplit())


def word_level() -> Tokenizer:
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False)
    return trained(models.WordLevel(unk_token="<unk>"), trainer, cut=pre_tokenizers.WhitespaceSplit())


KINDS = {
    "wordpiece": lambda: wordpiece(lowercase=True),
    "wordpiece, cased": lambda: wordpiece(lowercase=False),
    "unigram": lambda: unigram(pre_tokenizers.Metaspace()),
    "unigram over white space": lambda: unigram(pre_tokenizers.WhitespaceSplit()),
    "byte pairs": lambda: byte_pairs(regex=True),
    "byte pairs over words": lambda: byte_pairs(regex=False),
    "character pairs": character_pairs,
    "word level": word_level,
}


@cache
def made(kind: str) -> Tokenizer:
    return KINDS[kind]()


def random_texts(count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    names = list(SCRIPTS)
    texts = []
    for _ in range(count):
        scripts = [names[i] for i in draw.integers(len(names), size=draw.integers(1, 5))]
        letters = "".join(SCRIPTS[name] for name in scripts) + " "
        texts.append("".join(letters[i] for i in draw.integers(len(letters), size=draw.integers(0, 40))))
    return texts


def check(tokenizer: Tokenizer, texts: list[str], limit: int) -> None:
    """Each word once among the tokens that their windows own, no two alike; offsets inside the text and in order."""
    for text, encodings in zip(texts, tokenizer.encode([Source(text, stride=4) for text in texts], limit), strict=True):
        offsets = np.array(words(text), np.int64).reshape(-1, 2)
        spoken = np.zeros(len(offsets), np.int64)
        for encoding, own in zip(encodings, owned(encodings, 0), strict=True):
            tokens = encoding.part_L == 0
            start_L, end_L = encoding.start_L[tokens], encoding.end_L[tokens]
            assert ((start_L >= 0) & (start_L <= end_L) & (end_L <= len(text))).all(), text
            assert (np.diff(start_L) >= 0).all(), text
            mine = np.zeros(len(encoding), bool)
            mine[own if tokens.any() else slice(None)] = True
            reached = within(offsets, encoding)
            piece = first_pieces(offsets[reached], encoding)
            place = places_in_pieces(offsets[reached], piece, encoding)
            here = (piece >= 0) & mine[piece]
            spoken[reached] += here
            told = list(zip(piece[here].tolist(), place[here].tolist(), strict=True))
            assert all(one < two for one, two in pairwise(told)), text
        assert (spoken == 1).all(), (text, spoken.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_of_a_random_text_has_a_token(kind: str) -> None:
    check(made(kind), random_texts(TEXTS, 0), 100_000)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "byte pairs over words", "word level"])
def test_every_word_of_a_long_text_has_a_token_in_one_window(kind: str) -> None:
    texts = random_texts(TEXTS, 1)
    check(made(kind), [a + b for a, b in pairwise(texts)], 12)
