"""Spoilt tokenizer files: expressions that never end, vocabularies without end, ids outside the encoder, other formats."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostile.corpus import Case, Outcome, encoder_copy, model_copy, nested, read, sealed, write
from hostile.good import Good

Spoil = Callable[[Path, Good], Any]


def cases() -> list[Case]:
    """Every defect in an encoder folder, and in a model folder."""
    made = []
    for name, (spoil, outcome) in DEFECTS.items():
        made.append(
            Case(f"tokenizer/{name}", "encoder", partial(_in_encoder, spoil), outcome, quick=name in _ONLY_ENCODER)
        )
        if name not in _ONLY_ENCODER:
            made.append(Case(f"model-tokenizer/{name}", "model", partial(_in_model, spoil), outcome))
    return made


def _in_encoder(spoil: Spoil, good: Good, folder: Path) -> Path:
    encoder = encoder_copy(good, folder)
    spoil(encoder, good)
    return encoder


def _in_model(spoil: Spoil, good: Good, folder: Path) -> Path:
    model = model_copy(good, folder)
    spoil(model / "encoder", good)
    return sealed(model)


def _set(**values: Any) -> Spoil:
    return lambda encoder, _: write(encoder / "tokenizer.json", read(encoder / "tokenizer.json") | values)


def _model(**values: Any) -> Spoil:
    def spoil(encoder: Path, _: Good) -> None:
        found = read(encoder / "tokenizer.json")
        found["model"] |= values
        write(encoder / "tokenizer.json", found)

    return spoil


def _text(text: str | bytes | Callable[[], str]) -> Spoil:
    return lambda encoder, _: write(encoder / "tokenizer.json", text() if callable(text) else text)


def _split(pattern: str) -> Spoil:
    return _set(pre_tokenizer={"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False})


def _replace(pattern: str) -> Spoil:
    return _set(normalizer={"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"})


def _words(**values: int) -> Spoil:
    """More pieces in the vocabulary."""

    def spoil(encoder: Path, _: Good) -> None:
        found = read(encoder / "tokenizer.json")
        found["model"]["vocab"] |= values
        write(encoder / "tokenizer.json", found)

    return spoil


def _settings(**values: Any) -> Spoil:
    path = "tokenizer_config.json"
    return lambda encoder, _: write(encoder / path, read(encoder / path) | values)


def _unigram(count: int, length: int) -> Callable[[], str]:
    """A vocabulary of long pieces, each of which is a path of its own through the model's tree."""

    def text() -> str:
        pieces = ",".join(f'["{i:0{length}x}",-1]' for i in range(count))
        return f'{{"version":"1.0","added_tokens":[],"model":{{"type":"Unigram","unk_id":0,"vocab":[{pieces}]}}}}'

    return text


def _wordpiece(count: int) -> Callable[[], str]:
    def text() -> str:
        pieces = ",".join(f'"{i:x}":{i}' for i in range(count))
        return (
            '{"version":"1.0","added_tokens":[],"model":{"type":"WordPiece","unk_token":"0","continuing_subword_prefix":'
            f'"##","max_input_chars_per_word":100,"vocab":{{{pieces}}}}}}}'
        )

    return text


def _bpe(**values: Any) -> Spoil:
    base = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], "unk_token": "a"}
    return _set(model=base | values)


def _added(**values: Any) -> Spoil:
    base = {"id": 0, "content": "[PAD]", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True}  # fmt: skip
    return _set(added_tokens=[base | values])


def _template(tokens: Any, single: Any) -> Spoil:
    return _set(
        post_processor={"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens}
    )


def _link(target: str) -> Spoil:
    def spoil(encoder: Path, good: Good) -> None:
        (encoder / "tokenizer.json").unlink()
        os.symlink(target.replace("OUTSIDE", str(good.secret)), encoder / "tokenizer.json")

    return spoil


def _pipe(encoder: Path, _: Good) -> None:
    (encoder / "tokenizer.json").unlink()
    os.mkfifo(encoder / "tokenizer.json")


def _instead(**files: Any) -> Spoil:
    """Files of older formats, and no tokenizer.json. `A__b` is `A.b`; a function makes what is large."""

    def spoil(encoder: Path, _: Good) -> None:
        (encoder / "tokenizer.json").unlink()
        for name, value in files.items():
            write(encoder / name.replace("__", "."), value() if callable(value) else value)

    return spoil


_A = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
_ONLY_ENCODER = frozenset({"older-vocabulary", "older-merges-garbage", "older-python-class", "older-pickle", "older-model-garbage",
                           "older-100-mb"})  # fmt: skip
DEFECTS: dict[str, tuple[Spoil, Outcome]] = {
    "split-nested-plus": (_split(r"(a+)+$"), "refused"),
    "split-nested-star": (_split(r"(?:\p{L}*)*!"), "refused"),
    "split-alternatives": (_split(r"(?:a|a)*\z"), "refused"),
    "split-alternatives-of-classes": (_split(r"(?:\w|\p{L})+;"), "refused"),
    "split-nested-counts": (_split(r"((\w{1,1000}){1,1000}){1,1000};"), "refused"),
    "split-many-stars": (_split(r"\w*\w*\w*\w*\w*\w*;"), "refused"),
    "split-two-stars": (_split(r".*.*;"), "refused"),
    "split-back-reference": (_split(r"(\w+)\s*\1+;"), "refused"),
    "split-named-reference": (_split(r"(?<x>\w+)\k<x>;"), "refused"),
    "split-recursion": (_split(r"(?<x>\w\g<x>?)+$"), "refused"),
    "split-lookbehind": (_split(r"(?<=(?:a|b|ab)+)c"), "refused"),
    "split-conditional": (_split(r"(a)?(?(1)b|c)+"), "refused"),
    "split-absent": (_split(r"(?~\w+)+;"), "refused"),
    "split-huge-counts": (_split(r"(?:(?:\w{9999}){9999}){9999}"), "refused"),
    "split-unclosed": (_split("("), "refused"),
    "split-of-1-mb": (_split("|".join(f"a{i}" for i in range(150_000))), "refused"),
    "split-10000-brackets": (_split("(" * 10_000 + "a" + ")" * 10_000), "refused"),
    "split-ordinary": (_split(r"'s|'t| ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"), "answered"),
    "replace-nested-plus": (_replace(r"(\w+)+$"), "refused"),
    "replace-many-stars": (_replace(r"\w*\w*\w*\w*;"), "refused"),
    "replace-grows": (
        _set(normalizer={"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"String": c}, "content": c * 1000} for c in "aaaa"]}),
        "refused",
    ),
    "prepend-grows": (
        _set(normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "x" * 1_000_000}] * 20}),
        "refused",
    ),
    "normalizer-unknown": (_set(normalizer={"type": "Python", "code": "import os"}), "refused"),
    "normalizer-precompiled-garbage": (_set(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA////"}), "refused"),
    "normalizers-nested": (_text(lambda: '{"normalizer":' + '{"type":"Sequence","normalizers":[' * 50_000), "refused"),
    "pre-tokenizer-unknown": (_set(pre_tokenizer={"type": "os.system"}), "refused"),
    "nothing": (_text(""), "refused"),
    "garbage": (_text(bytes(range(256)) * 100), "refused"),
    "null": (_text("null"), "refused"),
    "nested": (_text(nested(100_000)), "refused"),
    "truncated": (lambda e, _: write(e / "tokenizer.json", (e / "tokenizer.json").read_bytes()[:-200]), "refused"),
    "version-other": (_set(version="9.9"), "refused"),
    "model-missing": (_set(model=None), "refused"),
    "model-unknown": (_model(type="Python"), "refused"),
    "vocabulary-nothing": (_model(vocab={}), "refused"),
    "vocabulary-list": (_model(vocab=["a"]), "refused"),
    "vocabulary-negative": (_words(fever=-1), "refused"),
    "vocabulary-past-the-encoder": (_words(zebra=10**6), "refused"),
    "vocabulary-4-billion": (_words(zebra=2**32 - 1), "refused"),
    "vocabulary-10-to-the-12": (_words(zebra=10**12), "refused"),
    "vocabulary-one-id": (_words(zebra=5, fever=5), "either"),
    "vocabulary-3-million": (_text(_wordpiece(3_000_000)), "refused"),
    "vocabulary-long-piece": (_words(**{"x" * 5_000_000: 5}), "either"),
    "unigram-3-million": (_text(_unigram(2_500_000, 6)), "refused"),
    "unigram-long-pieces": (_text(_unigram(60_000, 400)), "refused"),
    "unigram-unknown-past-the-end": (_set(model={"type": "Unigram", "unk_id": 99, "vocab": [["a", -1]]}), "refused"),
    "unigram-score-nan": (_text('{"version":"1.0","added_tokens":[],"model":{"type":"Unigram","unk_id":0,"vocab":[["a",NaN]]}}'),
                          "refused"),
    "merges-garbage": (_bpe(merges=["a", "b c d", ""]), "refused"),
    "merges-unknown": (_bpe(merges=[["x", "y"]]), "refused"),
    "merges-numbers": (_bpe(merges=[1, 2]), "refused"),
    "dropout-two": (_bpe(dropout=2.0), "refused"),
    "dropout-half": (_bpe(dropout=0.5), "either"),
    "unknown-missing": (_model(unk_token="[NO]"), "refused"),
    "word-limit-zero": (_model(max_input_chars_per_word=0), "either"),
    "word-limit-huge": (_model(max_input_chars_per_word=10**18), "either"),
    "added-past-the-encoder": (_added(id=10**6, content="zebra"), "refused"),
    "added-empty": (_added(content=""), "either"),
    "added-10000-as-regex": (
        _set(added_tokens=[{"id": 100 + i, "content": f"t{i}", "single_word": False, "lstrip": True, "rstrip": True,
                            "normalized": True, "special": False} for i in range(10_000)]), "refused"),
    "template-past-the-encoder": (_template({"[CLS]": {"id": "[CLS]", "ids": [10**6], "tokens": ["[CLS]"]}}, [*_A]), "refused"),
    "template-unknown-token": (_template({}, [*_A]), "refused"),
    "template-without-text": (_template({"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}, [_A[0]]), "refused"),
    "template-text-twice": (_template({"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}, [_A[1], _A[1]]), "refused"),
    "template-1000-specials": (
        _template({"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}, [*[_A[0]] * 1000, _A[1]]), "refused"),
    "template-types-huge": (
        _template({"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
                  [_A[0], {"Sequence": {"id": "A", "type_id": 10**6}}]), "refused"),
    "truncation-zero": (_set(truncation={"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 9}), "either"),
    "padding-huge": (
        _set(padding={"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 10**6,
                      "pad_type_id": 0, "pad_token": "[NO]"}), "either"),
    "settings-garbage": (lambda e, _: write(e / "tokenizer_config.json", "{"), "refused"),
    "settings-nested": (lambda e, _: write(e / "tokenizer_config.json", nested(100_000)), "refused"),
    "settings-a-list": (lambda e, _: write(e / "tokenizer_config.json", "[]"), "refused"),
    "settings-pad-number": (_settings(pad_token=7), "refused"),
    "settings-pad-object": (_settings(pad_token={"text": "x"}), "refused"),
    "settings-pad-list": (_settings(pad_token=["x"]), "refused"),
    "settings-class-with-code": (_settings(tokenizer_class="os.system", auto_map={"AutoTokenizer": ["x.y", None]}), "answered"),
    "settings-64-mb": (lambda e, _: write(e / "tokenizer_config.json", '{"x": "' + "x" * 64_000_000 + '"}'), "refused"),
    "special-map-garbage": (lambda e, _: write(e / "special_tokens_map.json", b"\xff\xfe"), "either"),
    "link-outside": (_link("OUTSIDE/secret.txt"), "refused"),
    "link-loop": (_link("tokenizer.json"), "refused"),
    "link-to-zeros": (_link("/dev/zero"), "refused"),
    "pipe": (_pipe, "refused"),
    "older-vocabulary": (_instead(vocab__txt="[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n"), "either"),
    "older-merges-garbage": (_instead(vocab__json="{", merges__txt="a b c\n\0"), "refused"),
    "older-python-class": (_instead(tokenizer_config__json={"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["x.X", None]}}),
                           "refused"),
    "older-pickle": (_instead(tokenizer__pkl=b"\x80\x04."), "refused"),
    "older-model-garbage": (_instead(spiece__model=bytes(range(256)) * 10, tokenizer__model=bytes(5000)), "refused"),
    "older-100-mb": (_instead(vocab__txt=lambda: b"".join(b"%d\n" % i for i in range(12_000_000))), "refused"),
}  # fmt: skip
