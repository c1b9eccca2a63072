from __future__ import annotations

import json
import pickle
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, processors

from manyheads.errors import EncoderError, UsageError
from manyheads.text.pack import Encoding, Source
from manyheads.text.tokenizer import Tokenizer, owned, windows

ROOM = 1_000_000
ODD = {
    "composed accents": "Café naïve Zürich",
    "decomposed accents": "Cafe\u0301 nai\u0308ve Zu\u0308rich",
    "emoji": "fine 😀👍🏽 good 👩‍🚀 flag 🇩🇪 one 1️⃣ heart ❤️.",
    "cjk": "日本語の文。中文 ｶﾞｷﾞ",
    "combining": "क्षत्रिय नमस्ते a\u0301\u0302\u0303b กำลัง",
    "hangul jamo": "\u1112\u1161\u11ab\u1100\u116e\u11a8 한국",
    "crlf": "one\r\ntwo\r\n\r\nthree\r\n",
    "controls": "a\x00b \x01\x02 c\x7fd\u200be\ufefff",
    "right to left": "שלום עולם مرحبا \u200fabc\u200e",
    "expansions": "½ … ﷺ ﬁne ①",
    "surrogates": "bad \ud83d here \udc00\ud800",
    "spaces": "\u00a0 wide\u3000space\u2003 here \t\n",
    "literal special tokens": "a [SEP] b <s> c </s> <mask> [MASK]",
    "plane 15": "\U000f0000 \U0010ffff x",
}


@cache
def loaded(family: Path) -> Tokenizer:
    return Tokenizer.load(family)


@cache
def stock(family: Path) -> Any:
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(family)
    found.backend_tokenizer.no_truncation()
    found.backend_tokenizer.no_padding()
    return found


def whole(tokenizer: Tokenizer, *texts: str) -> Encoding:
    (encoding,) = tokenizer.encode([Source(*texts)], ROOM)[0]
    return encoding


def columns(encoding: Encoding, positions: Any) -> list[tuple[int, ...]]:
    arrays = encoding.ids_L, encoding.type_L, encoding.start_L, encoding.end_L
    return list(zip(*(array[positions].tolist() for array in arrays), strict=True))


# -- loading and saving -----------------------------------------------------------------------------------------------
def test_importing_the_module_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, manyheads.text.tokenizer; print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_special_tokens_and_padding_are_those_of_the_stock_tokenizer(family: Path) -> None:
    tokenizer, other = loaded(family), stock(family)
    assert tokenizer.vocabulary_size == len(other)
    assert tokenizer.special_tokens(pair=False) == other.num_special_tokens_to_add(pair=False)
    assert tokenizer.special_tokens(pair=True) == other.num_special_tokens_to_add(pair=True)
    if other.pad_token_id is not None:
        assert tokenizer.pad_id == other.pad_token_id


def test_a_saved_tokenizer_is_read_by_us_and_by_transformers_alike(family: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = loaded(family)
    tokenizer.save(tmp_path / "saved")
    again, other = Tokenizer.load(tmp_path / "saved"), AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/tokenizer.json").read_text("utf-8"))["truncation"] is None
    assert again.pad_id == tokenizer.pad_id == other.pad_token_id
    pair = "Aspirin lowered fever in children.", "Who was given aspirin again and again?"
    expected = columns(whole(tokenizer, *pair), slice(None))
    assert columns(whole(again, *pair), slice(None)) == expected
    assert columns(whole(pickle.loads(pickle.dumps(tokenizer)), *pair), slice(None)) == expected
    assert other(*pair)["input_ids"] == [row[0] for row in expected]
    assert other.model_input_names == stock(family).model_input_names or not (family / "tokenizer_config.json").exists()


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


# -- parity -----------------------------------------------------------------------------------------------------------
SENTENCES = [
    "Aspirin (100 mg/day) lowered fever in children with influenza.",
    "The quick brown fox jumps over the lazy dog",
    "  Naïve café owners in  Zürich \n measured\tblood pressure… ",
    "日本語の文 and 한국어 and العربية",
    *ODD.values(),
]


def test_ids_types_and_offsets_of_one_window_are_those_of_transformers(family: Path) -> None:
    tokenizer, other = loaded(family), stock(family)
    sources = [Source(text) for text in SENTENCES]
    for source, (encoding,) in zip(sources, tokenizer.encode(sources, ROOM), strict=True):
        text = source.first.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if len(text) != len(source.first):
            continue  # a surrogate pair in two characters
        expected = other(text, return_offsets_mapping=True, return_token_type_ids=True)
        assert encoding.ids_L.tolist() == expected["input_ids"]
        assert encoding.type_L.tolist() == expected["token_type_ids"]
        if text.isascii():
            for place, (start, end) in enumerate(expected["offset_mapping"]):
                ours = text[encoding.start_L[place] : encoding.end_L[place]]
                assert ours == text[start:end].strip()


def test_pairs_are_those_of_transformers(family: Path) -> None:
    tokenizer, other = loaded(family), stock(family)
    for first, second in pairwise(SENTENCES[:5]):
        encoding = whole(tokenizer, first, second)
        expected = other(first, second, return_token_type_ids=True)
        assert encoding.ids_L.tolist() == expected["input_ids"]
        # A class of its own may leave types to the model (RoBERTa's are all 0 either way).
        assert encoding.type_L.tolist() == expected["token_type_ids"]
        assert encoding.part_L.tolist() == [-1 if part is None else part for part in expected.sequence_ids()]


@pytest.mark.parametrize("stride", [0, 3, 6])
def test_windows_before_the_last_are_those_of_transformers(family: Path, stride: int) -> None:
    tokenizer, other = loaded(family), stock(family)
    text, question = " ".join(SENTENCES[:2]), "Who had fever?"
    settings = {"max_length": 32, "truncation": "only_second", "stride": stride, "return_overflowing_tokens": True}
    for texts in ((text,), (question, text)):
        limit = settings | ({} if len(texts) == 2 else {"truncation": True, "max_length": 16})
        theirs = other(*texts, **limit)["input_ids"]
        ours = tokenizer.encode([Source(*texts, stride=stride)], int(str(limit["max_length"])))[0]
        assert len(ours) == len(theirs)
        assert [window.ids_L.tolist() for window in ours[:-1]] == theirs[:-1]
        assert {len(window) for window in ours} == {limit["max_length"]}
        assert theirs[-1][-3:] == ours[-1].ids_L.tolist()[-3:], "both end with the text"


# -- windows ----------------------------------------------------------------------------------------------------------
# No character here is several equal tokens at one place in a row: see `_shift`.
CHARACTERS = "aäbñ\u0301\u0308 \n\t.,-(日ガのก👩\u200d🚀👍🏽️❤\x00\u200bשم\u1112\u1161\u11ab½１\ufb01A\ud800Zé_#"
texts = st.text(st.sampled_from(CHARACTERS), max_size=40) | st.text(
    st.sampled_from("ab c. é"), min_size=20, max_size=120
)
relaxed = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(texts, st.none() | texts, st.integers(0, 12), st.integers(0, 20))
def test_windows_cover_every_token_and_each_has_one_owner(
    family: Path, first: str, second: str | None, stride: int, slack: int
) -> None:
    tokenizer = loaded(family)
    pair = second is not None
    limit = tokenizer.special_tokens(pair) + 1 + pair + slack
    source = Source(first, second, stride)
    found = tokenizer.encode([source], limit)[0]
    single = tokenizer.encode([source], ROOM)[0][0]
    assert tokenizer.lengths([source], limit) == [[len(window) for window in found]]
    assert [window.window for window in found] == list(range(len(found)))
    assert (len(found) == 1) == (len(single) <= limit)
    for window in found:
        assert len(window) <= limit
        special = window.part_L == -1
        assert columns(window, special) == columns(single, single.part_L == -1)
        assert window.part_L[~special].tolist() == sorted(window.part_L[~special].tolist())
    for part in range(1 + pair):
        slices = owned(found, part)
        merged = [row for window, own in zip(found, slices, strict=True) for row in columns(window, own)]
        assert merged == columns(single, single.part_L == part)
        for window, own in zip(found, slices, strict=True):
            assert set(window.part_L[own].tolist()) <= {part}


@given(st.integers(0, 60), st.integers(0, 60), st.integers(2, 30), st.integers(0, 40))
def test_window_arithmetic(first: int, second: int, room: int, stride: int) -> None:
    plan = windows(first, second, room, stride)
    assert all(one + two <= room for _, one, _, two in plan)
    assert (len(plan) == 1) == (first + second <= room)
    for total, begin, length in ((first, 0, 1), (second, 2, 3)):
        ranges = [(window[begin], window[begin] + window[length]) for window in plan]
        assert ranges[0][0] == 0
        assert ranges[-1][1] == total
        assert len({end - start for start, end in ranges}) == 1
        size = ranges[0][1] - ranges[0][0]
        overlaps = [one[1] - two[0] for one, two in pairwise(ranges)]
        assert all(overlap >= min(stride, size // 2) for overlap in overlaps)
        assert all(two[0] >= one[0] for one, two in pairwise(ranges))
    if first <= room // 2:
        assert all(window[1] == first for window in plan), "a short first part is whole in every window"


def test_the_overlap_is_exact_but_for_the_last_window() -> None:
    assert windows(25, 0, 10, 4) == [(0, 10, 0, 0), (6, 10, 0, 0), (12, 10, 0, 0), (15, 10, 0, 0)]
    assert windows(3, 12, 9, 2) == [(0, 3, 0, 6), (0, 3, 4, 6), (0, 3, 6, 6)]
    assert windows(12, 3, 9, 2) == [(0, 6, 0, 3), (4, 6, 0, 3), (6, 6, 0, 3)]
    assert windows(12, 30, 10, 1) == [(k * 7 // 7, 5, min(4 * k, 25), 5) for k in range(8)]
    assert windows(20, 0, 10, 64) == [(0, 10, 0, 0), (5, 10, 0, 0), (10, 10, 0, 0)], "at most half of a window"
    assert windows(3, 0, 1, 64) == [(0, 1, 0, 0), (1, 1, 0, 0), (2, 1, 0, 0)], "no room for an overlap"


def test_a_length_without_room_and_a_negative_overlap_are_refused(families: dict[str, Path]) -> None:
    tokenizer = loaded(families["bert"])
    with pytest.raises(
        UsageError, match="max_length is 2 tokens, but a window of a text has 2 special ones; give at least 3"
    ):
        tokenizer.encode([Source("")], 2)
    with pytest.raises(UsageError, match="a window of a pair of texts has 3 special ones; give at least 5"):
        tokenizer.lengths([Source("a", "b")], 4)
    with pytest.raises(UsageError, match="cannot overlap by -1 tokens"):
        tokenizer.encode([Source("a b c d e f", stride=-1)], 4)
    assert tokenizer.encode([], 2) == []


def test_owners_have_the_most_context_and_the_earlier_wins_a_tie(families: dict[str, Path]) -> None:
    tokenizer = loaded(families["bert"])
    text = " ".join("abcdefghijklmno")
    found = tokenizer.encode([Source(text, stride=4)], 10)[0]  # windows of 8: tokens 0-7, 4-11, 7-14
    assert owned(found, 0) == [slice(1, 7), slice(3, 7), slice(4, 9)]
    place: dict[int, list[tuple[int, int]]] = {token: [] for token in range(15)}
    for k, window in enumerate(found):
        for position in np.flatnonzero(window.part_L == 0).tolist():
            place[int(window.start_L[position]) // 2].append((min(position - 1, 8 - position), -k))
    owner = {
        start // 2: k
        for k, (window, own) in enumerate(zip(found, owned(found, 0), strict=True))
        for start in window.start_L[own].tolist()
    }
    assert owner == {token: -max(choices)[1] for token, choices in place.items()}


def test_the_question_of_a_pair_is_owned_by_its_first_window(families: dict[str, Path]) -> None:
    found = loaded(families["roberta"]).encode([Source("who?", "a b c d e f g h i j k l", stride=2)], 14)[0]
    slices = owned(found, 0)
    assert len(found) > 2
    assert slices[0].stop - slices[0].start == int((found[0].part_L == 0).sum())
    assert all(own.start == own.stop for own in slices[1:])
    assert owned(found[:1], 1) == [slice(*np.flatnonzero(found[0].part_L == 1)[[0, -1]] + [0, 1])]
    assert owned([], 0) == []


# -- offsets ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ODD)
def test_odd_texts_have_offsets_that_lie_in_the_text_in_order_without_white_space(family: Path, name: str) -> None:
    check_offsets(loaded(family), ODD[name])


@relaxed
@given(st.text(st.sampled_from(CHARACTERS + "…ﷺ𐐐") | st.characters(), max_size=30))
def test_any_text_has_offsets_that_lie_in_the_text_in_order_without_white_space(family: Path, text: str) -> None:
    check_offsets(loaded(family), text)


def check_offsets(tokenizer: Tokenizer, text: str) -> None:
    neighbours = [Source("\u0301x"), Source(text), Source("\u200d🚀 "), Source(" \u0301", text)]
    found = tokenizer.encode(neighbours, ROOM)
    encoding, pair = found[1][0], found[3][0]
    as_second, as_first = columns(pair, pair.part_L == 1), columns(encoding, encoding.part_L == 0)
    assert [row[:1] + row[2:] for row in as_second] == [row[:1] + row[2:] for row in as_first]
    special = encoding.part_L == -1
    assert not encoding.start_L[special].any()
    assert not encoding.end_L[special].any()
    starts, ends = encoding.start_L[~special], encoding.end_L[~special]
    assert (starts >= 0).all()
    assert (starts <= ends).all()
    assert (ends <= len(text)).all()
    assert (np.diff(starts) >= 0).all()
    assert (np.diff(ends) >= 0).all()
    if not text.strip():
        assert special.all()
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        covered = text[start:end]
        assert covered == covered.strip()
        if covered:
            assert text[end : end + 1] not in tuple("\u0301\u0302\u0308\u094d\ufe0f🏽\u11ab")


def test_text_of_an_uncased_token_is_its_piece(families: dict[str, Path]) -> None:
    rust = tokenizers.Tokenizer.from_file(str(families["bundled"] / "tokenizer.json"))
    plain = normalizers.BertNormalizer()
    tokenizer, seen = loaded(families["bundled"]), 0
    for text in (*SENTENCES, "ÉCOLE d'été: The Ångström (Å) unit, cafe\u0301s and re\u0301sume\u0301s; 10µg/ml!"):
        encoding = whole(tokenizer, text)
        for token, _, start, end in columns(encoding, encoding.part_L == 0):
            piece = rust.id_to_token(token)
            if piece not in ("[UNK]", "[SEP]", "[MASK]"):
                expected = plain.normalize_str(text[start:end]).strip()  # it sets spaces around Han
                piece = piece.removeprefix("##")
                a_jamo_of_a_syllable = piece in normalize("NFD", expected)
                assert piece == expected or a_jamo_of_a_syllable, (text, start, end)
                seen += 1
    assert seen > 150


@pytest.mark.parametrize("name", ["bundled", "bert-cased", "roberta", "xlm-roberta", "deberta-v2", "nfkc"])
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a cafe\u0301 b", "cafe\u0301"),
        ("a café b", "café"),
        ("a nai\u0308ve\u0301 b", "nai\u0308ve\u0301"),
        ("so 👍🏽 b", "👍🏽"),
        ("so 👩‍🚀 b", "👩‍🚀"),
        ("so ❤️ b", "❤️"),
        ("x ｶﾞ b", "ｶﾞ"),
        ("x \u1112\u1161\u11ab b", "\u1112\u1161\u11ab"),
        ("क्\u200dष", "क्\u200dष"),
        ("\u3000wide ", "wide"),
        ("a\r\nb\r\n", "b"),
        ("bad \ud83d", "\ud83d"),
    ],
)
def test_tokens_of_a_word_reach_to_its_end_and_no_further(
    families: dict[str, Path], name: str, text: str, word: str
) -> None:
    encoding = whole(loaded(families[name]), text)
    begin = text.index(word)
    inside = (encoding.part_L == 0) & (encoding.start_L >= begin) & (encoding.start_L < begin + len(word))
    if word == "\ud83d" and not inside.any():
        assert name in ("bundled", "bert-cased")  # BERT drops U+FFFD
        return
    assert encoding.end_L[inside].max() == begin + len(word)
    assert encoding.start_L[inside].min() == begin


def test_blank_texts_give_special_tokens_only(family: Path) -> None:
    tokenizer = loaded(family)
    for text in ("", " ", "\n\t \r\n", "\u3000\u00a0"):
        assert set(whole(tokenizer, text).part_L.tolist()) == {-1}
        assert len(whole(tokenizer, text, text)) == tokenizer.special_tokens(pair=True)
        assert set(whole(tokenizer, "a", text).part_L.tolist()) == {-1, 0}


def test_a_very_long_run_is_read_in_windows(family: Path) -> None:
    tokenizer = loaded(family)
    source = Source("x" * 10_000)
    found = tokenizer.encode([source], 128)[0]
    merged = [row for window, own in zip(found, owned(found, 0), strict=True) for row in columns(window, own)]
    assert merged[0][2] == 0
    assert merged[-1][3] == 10_000
    assert tokenizer.lengths([source], 128)[0] == [len(window) for window in found]


def test_a_batch_gives_what_its_sources_give_alone(families: dict[str, Path]) -> None:
    tokenizer = loaded(families["roberta"])
    sources = [Source(a, b, 2) for a in list(ODD.values())[:6] for b in (None, "who?", *list(ODD.values())[:3])]
    for source, found in zip(sources, tokenizer.encode(sources, 16), strict=True):
        alone = tokenizer.encode([source], 16)[0]
        assert [columns(w, slice(None)) for w in found] == [columns(w, slice(None)) for w in alone]
        for window in found:
            assert [a.dtype for a in (window.ids_L, window.type_L, window.start_L, window.end_L)] == [np.int32] * 4
            assert window.part_L.dtype == np.int8
