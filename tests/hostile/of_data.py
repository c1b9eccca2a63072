"""Spoilt data files of every format: bombs, garbage, nesting, encodings, declared sizes, links."""

from __future__ import annotations

# ruff: noqa: PLW0108  what is large is made when its case is, not when this is imported
import gzip
import json
import os
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostile.corpus import Case, Kind, Outcome, nested
from hostile.good import Good

Content = bytes | str | Callable[[], bytes]


def cases() -> list[Case]:
    """Files by name and content, and those that are made otherwise."""
    made = []
    for kind, table in (("ner", NER), ("text", TEXT), ("qa", QA), ("pairs", PAIRS)):
        for name, (file, content, outcome) in table.items():
            made.append(Case(f"data/{kind}-{name}", _kind(kind), partial(_written, file, content), outcome))
    for name, (kind, file, make, outcome) in MADE.items():
        made.append(Case(f"data/{name}", _kind(kind), partial(_made, file, make), outcome))
    return made


def _kind(name: str) -> Kind:
    kinds: dict[str, Kind] = {"ner": "ner", "text": "text", "qa": "qa", "pairs": "pairs"}
    return kinds[name]


def _written(file: str, content: Content, _: Good, folder: Path) -> Path:
    path = folder / file
    found = content() if callable(content) else content
    path.write_bytes(found.encode("utf-8", "surrogatepass") if isinstance(found, str) else found)
    return path


def _made(file: str, make: Callable[[Path, Good], Any], good: Good, folder: Path) -> Path:
    make(folder / file, good)
    return folder / file


def bomb(block: bytes, gigabytes: float = 4.0) -> bytes:
    """A gzip file of one stream that unpacks to so much: one compressed block again and again."""
    unit = block * max(1, (1 << 22) // len(block))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = packer.compress(unit) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(unit) + packer.flush(zlib.Z_FULL_FLUSH)
    last = packer.flush(zlib.Z_FINISH)
    count = int(gigabytes * (1 << 30)) // len(unit)
    head = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
    return head + once + again * (count - 1) + last + struct.pack("<II", 0, (count * len(unit)) & 0xFFFFFFFF)


def members(block: bytes, gigabytes: float = 4.0) -> bytes:
    """The same as many gzip streams in one file."""
    unit = gzip.compress(block * max(1, (1 << 24) // len(block)), mtime=0)
    return unit * int(gigabytes * 64)


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


HEADER = "text,label\n"
GOOD_CSV = HEADER + "a fever,A\nthe trial,B\nblood was 1,A\naspirin 2,B\n"
GOOD_ROW = '{"text": "a fever", "label": "A"}\n{"text": "the trial", "label": "B"}\n' * 3

NER: dict[str, tuple[str, Content, Outcome]] = {
    "columns-100000": ("a.conll", lambda: b"x " * 100_000 + b"O\n" + b"y O\n", "refused"),
    "columns-100000-each": ("a.conll", lambda: (b"x " * 100_000 + b"O\n") * 3, "either"),
    "line-of-50-mb": ("a.conll", lambda: b"x" * 50_000_000 + b" O\n", "refused"),
    "sentence-of-2000000-words": ("a.conll", lambda: b"a O\n" * 2_000_000, "either"),
    "documents-500000": ("a.conll", lambda: b"-DOCSTART- O\n\n" * 500_000, "refused"),
    "blank-lines": ("a.conll", lambda: b"\n" * 5_000_000, "refused"),
    "nul-bytes": ("a.conll", b"a\0b O\nc\0 B-X\n", "either"),
    "only-nul-bytes": ("a.conll", bytes(1_000_000), "refused"),
    "tags-30000": ("a.conll", lambda: "".join(f"a B-L{i}\n\n" for i in range(30_000)).encode(), "either"),
    "tag-of-10-mb": ("a.conll", lambda: b"a B-" + b"x" * 10_000_000 + b"\n", "either"),
    "tag-unknown": ("a.conll", "a Q-X\n", "refused"),
    "tag-empty": ("a.conll", "a B-\n", "refused"),
    "white-words": ("a.conll", "\u00a0 O\n\u2003 B-X\n", "refused"),
    "invisible-words": ("a.conll", "\u200b B-X\n\u202e I-X\n", "either"),
    "right-to-left": ("a.conll", "\u202eabc\u202c B-X\n" * 10, "either"),
    "combining-marks": ("a.conll", lambda: ("a" + "\u0301" * 100_000 + " B-X\n").encode(), "either"),
    "carriage-returns": ("a.conll", "a O\rb O\r" * 100, "either"),
    "lone-surrogate": ("a.conll", "a\ud800 O\n", "refused"),
    "overlong-utf8": ("a.conll", b"a\xc0\xaf O\n", "refused"),
    "utf16": ("a.conll", "a O\n".encode("utf-16"), "refused"),
    "utf16-without-mark": ("a.conll", "a O\nb O\n".encode("utf-16-le"), "refused"),
    "latin1": ("a.conll", "\u00e9t\u00e9 O\n".encode("latin-1"), "refused"),
    "bomb-of-zeros": ("a.conll.gz", lambda: bomb(bytes(1024)), "refused"),
    "bomb-of-lines": ("a.conll.gz", lambda: bomb(b"\n" * 1024), "refused"),
    "bomb-of-words": ("a.conll.gz", lambda: bomb(b"a O\n" * 256), "refused"),
    "bomb-in-members": ("a.conll.gz", lambda: members(b"a O\n\n"), "refused"),
    "rows-spans-outside": ("a.jsonl", '{"text": "abc", "entities": [{"start": -5, "end": 999999999, "label": "X"}]}\n', "refused"),
    "rows-spans-huge": ("a.jsonl", '{"text": "abc", "entities": [{"start": 0, "end": 1e308, "label": "X"}]}\n', "refused"),
    "rows-spans-nan": ("a.jsonl", '{"text": "abc", "entities": [{"start": NaN, "end": 2, "label": "X"}]}\n', "refused"),
    "rows-spans-true": ("a.jsonl", '{"text": "abc", "entities": [{"start": false, "end": true, "label": "X"}]}\n', "refused"),
    "rows-spans-text": ("a.jsonl", '{"text": "abc", "entities": [{"start": "0", "end": "1", "label": "X"}]}\n', "refused"),
    "rows-entities-nested": ("a.jsonl", '{"text": "abc", "entities": ' + nested(900) + "}\n", "refused"),
    "rows-tokens-text": ("a.jsonl", '{"tokens": "abc", "tags": "OOO"}\n', "refused"),
    "rows-tags-numbers": ("a.jsonl", '{"tokens": ["a"], "tags": [2]}\n', "refused"),
    "rows-tags-lists": ("a.jsonl", '{"tokens": ["a"], "tags": [["O"]]}\n', "refused"),
    "rows-tokens-numbers": ("a.jsonl", '{"tokens": [1], "tags": ["O"]}\n', "refused"),
    "rows-tags-fewer": ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n', "refused"),
    "lines-broken-1000000": ("a.conll", lambda: b"a O\n" + b"a\n" * 1_000_000, "refused"),
    "lines-broken-every-second": ("a.conll", lambda: b"a O\nb\n" * 1_000_000, "refused"),
    "spaced-words-1500000": ("a.csv", lambda: b"tokens,tags\n" + b"x " * 1_500_000 + b"," + b"O " * 1_500_000 + b"\n", "either"),
    "spaced-words-of-brackets": ("a.csv", lambda: b"tokens,tags\n" + b"'] " * 1_000_000 + b"," + b"[ " * 1_000_000 + b"\n", "refused"),
    "spaced-tags-fewer": ("a.csv", "tokens,tags\na b,O\n", "refused"),
    "rows-100000-spans": (
        "a.jsonl",
        lambda: json.dumps({"text": "ab " * 100_000, "entities": [
            {"start": 3 * i, "end": 3 * i + 2, "label": "X"} for i in range(100_000)]}).encode() + b"\n",
        "either",
    ),
}  # fmt: skip

TEXT: dict[str, tuple[str, Content, Outcome]] = {
    "cell-of-50-mb": ("a.csv", lambda: HEADER.encode() + b'"' + b"x" * 50_000_000 + b'",A\n', "refused"),
    "cell-of-50-mb-in-lines": ("a.csv", lambda: HEADER.encode() + b'"' + b"xxxxxxxxx\n" * 5_000_000 + b'",A\n', "refused"),
    "cell-of-5-mb": ("a.csv", lambda: HEADER.encode() + b'"' + b"x " * 2_500_000 + b'",A\nfever,A\na,B\nb,B\n', "refused"),
    "cell-of-3-mb": ("a.csv", lambda: HEADER.encode() + b'"' + b"x " * 1_500_000 + b'",A\nfever,A\na,B\nb,B\n', "answered"),
    "quote-open": ("a.csv", lambda: HEADER.encode() + b'"' + b"x,A\n" * 2_000_000, "refused"),
    "columns-1000000": ("a.csv", lambda: b"text,label" + b",x" * 1_000_000 + b"\n", "refused"),
    "cells-10000000": ("a.csv", lambda: HEADER.encode() + b"," * 10_000_000 + b"\n", "refused"),
    "header-twice": ("a.csv", "text,text,label\na,b,c\n", "refused"),
    "header-only-nul": ("a.csv", b"\0\0,\0\n" * 100, "refused"),
    "nul-bytes": ("a.csv", b"text,label\na\0b,A\nc,A\nd,B\ne,B\n", "either"),
    "lone-surrogate": ("a.csv", HEADER + "a\ud800,A\n", "refused"),
    "utf16": ("a.csv", GOOD_CSV.encode("utf-16"), "refused"),
    "utf7-marks": ("a.csv", b"+/v8text,label\na,A\n", "refused"),
    "mark-twice": ("a.csv", b"\xef\xbb\xbf\xef\xbb\xbftext,label\na,A\nb,B\n", "refused"),
    "formulas": ("a.csv", HEADER + '"=cmd|\' /C calc\'!A0",A\n@SUM(1),A\n+1,B\n-1,B\n', "answered"),
    "labels-40000": ("a.csv", lambda: (HEADER + "".join(f"a,l{i}\n" for i in range(40_000))).encode(), "either"),
    "label-of-10-mb": ("a.csv", lambda: (HEADER + "a," + "x" * 10_000_000 + "\n").encode(), "either"),
    "labels-look-alike": ("a.csv", HEADER + "a,A\nb,\u0410\nc,A\nd,\u0410\n", "answered"),
    "labels-of-controls": ("a.csv", HEADER + "a,\x1b[2J\nb,\x1b[2J\nc,B\nd,B\n", "either"),
    "bomb-of-zeros": ("a.csv.gz", lambda: bomb(bytes(1024)), "refused"),
    "bomb-of-rows": ("a.csv.gz", lambda: _joined_bomb(HEADER.encode(), b"a,A\nb,B\n"), "refused"),
    "bomb-of-quotes": ("a.csv.gz", lambda: _joined_bomb(HEADER.encode() + b'"', b"x\n"), "refused"),
    "bomb-of-tabs": ("a.tsv.gz", lambda: bomb(b"\t" * 1024), "refused"),
    "gzip-cut-off": ("a.csv.gz", lambda: _packed(GOOD_CSV * 1000)[:-30], "refused"),
    "gzip-header-alone": ("a.csv.gz", b"\x1f\x8b\x08\0\0\0\0\0\x02\xff", "refused"),
    "gzip-of-nothing": ("a.csv.gz", b"", "refused"),
    "gzip-in-gzip": ("a.csv.gz", lambda: gzip.compress(_packed(GOOD_CSV), mtime=0), "refused"),
    "gzip-with-rubbish": ("a.csv.gz", lambda: _packed(GOOD_CSV) + b"rubbish", "refused"),
    "gzip-wrong-sum": ("a.csv.gz", lambda: _packed(GOOD_CSV)[:-8] + bytes(8), "refused"),
    "gzip-not-packed": ("a.csv.gz", GOOD_CSV, "refused"),
    "gzip-name-of-1-mb": ("a.csv.gz", lambda: b"\x1f\x8b\x08\x08\0\0\0\0\x02\xff" + b"x" * 1_000_000, "refused"),
    "a-zip": ("a.csv.gz", b"PK\x03\x04" + bytes(100), "refused"),
    "json-nested": ("a.jsonl", '{"text": ' + nested(100_000) + ', "label": "A"}\n', "refused"),
    "json-nested-objects": ("a.jsonl", '{"a":' * 100_000 + "1" + "}" * 100_000 + "\n", "refused"),
    "json-nested-300": ("a.jsonl", '{"text": ' + nested(300) + ', "label": "A"}\n', "refused"),
    "json-nested-aside": ("a.jsonl", '{"text": "a", "label": "A", "x": ' + nested(800) + "}\n" + GOOD_ROW, "either"),
    "json-integer-100000-digits": ("a.jsonl", '{"text": "a", "label": ' + "9" * 100_000 + "}\n", "refused"),
    "json-integer-4000-digits": ("a.jsonl", '{"text": "a", "label": ' + "9" * 4_000 + "}\n", "refused"),
    "json-nan": ("a.jsonl", '{"text": "a", "label": NaN}\n', "refused"),
    "json-infinity": ("a.jsonl", '{"text": Infinity, "label": "A"}\n', "refused"),
    "json-nan-aside": ("a.jsonl", '{"text": "a", "label": "A", "x": [NaN, -Infinity, 1e999]}\n' + GOOD_ROW, "either"),
    "json-keys-twice": ("a.jsonl", '{"text": "a", "text": "b", "label": "A"}\n' + GOOD_ROW, "either"),
    "json-lone-surrogate": ("a.jsonl", '{"text": "\\ud800", "label": "A"}\n', "refused"),
    "json-lone-surrogate-label": ("a.jsonl", '{"text": "a", "label": "\\udfff"}\n', "refused"),
    "json-lone-surrogate-key": ("a.jsonl", '{"text": "a", "label": "A", "\\ud800": 1}\n', "refused"),
    "json-nul-text": ("a.jsonl", '{"text": "\\u0000", "label": "A"}\n' + GOOD_ROW, "either"),
    "json-array": ("a.jsonl", "[" + GOOD_ROW.replace("\n", ",") + "{}]", "refused"),
    "json-string": ("a.jsonl", '"text"\n', "refused"),
    "json-line-of-10-mb": ("a.jsonl", lambda: b'{"text": "' + b"x" * 10_000_000 + b'", "label": "A"}\n' + GOOD_ROW.encode(), "either"),
    "json-line-of-50-mb": ("a.jsonl", lambda: b'{"text": "' + b"x" * 50_000_000 + b'", "label": "A"}\n', "refused"),
    "json-line-of-lists": ("a.jsonl", lambda: b'{"text": "a", "label": "A", "x": [' + b"[]," * 10_000_000 + b"0]}\n", "refused"),
    "json-1000000-keys": (
        "a.jsonl", lambda: ("{" + ",".join(f'"k{i}":1' for i in range(1_000_000)) + "}\n").encode(), "refused"),
    "json-targets-nested": ("a.jsonl", '{"text": "a", "targets": {"section": ' + nested(500) + "}}\n", "refused"),
    "json-targets-text": ("a.jsonl", '{"text": "a", "targets": [1]}\n', "refused"),
    "json-labels-numbers": ("a.jsonl", '{"text": "a", "labels": [1, null]}\n', "refused"),
    "json-label-object": ("a.jsonl", '{"text": "a", "label": {"__class__": "x"}}\n', "refused"),
    "json-text-number": ("a.jsonl", '{"text": 1e400, "label": "A"}\n', "refused"),
    "json-lines-broken-300000": ("a.jsonl", lambda: GOOD_ROW.encode() + b'{"text": \n' * 300_000, "refused"),
    "json-labels-270000": (
        "a.jsonl", lambda: "".join(json.dumps({"text": f"a {i}", "labels": {f"l{i}-{k}": int(k < 1) for k in range(900)}}) + "\n"
                                   for i in range(300)).encode(), "either"),
    "label-lines-of-3-mb": ("a.label", lambda: b"DESC:a b\n" * 3 + b"HUM:a b\n" * 3 + b"x" * 3_000_000 + b"\n", "refused"),
    "label-lines-without": ("a.label", lambda: b"DESC:a b\nHUM:a b\n" * 900 + b"what\n" * 1_000_000, "refused"),
    "json-bomb": ("a.jsonl.gz", lambda: bomb(b" " * 1024), "refused"),
    "a-pickle": ("a.jsonl", b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.", "refused"),
    "unknown-ending": ("a.pkl", b"\x80\x04.", "refused"),
}  # fmt: skip


def _joined_bomb(head: bytes, block: bytes) -> bytes:
    return gzip.compress(head, mtime=0) + bomb(block)


def _article(**qa: Any) -> str:
    question = {"id": "1", "question": "What?", "answers": [{"text": "fever", "answer_start": 2}]} | qa
    return json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "a fever was", "qas": [question]}]}]})


QA: dict[str, tuple[str, Content, Outcome]] = {
    "start-huge": ("a.json", _article(answers=[{"text": "fever", "answer_start": 10**18}]), "refused"),
    "start-10-to-the-400": ("a.json", _article(answers=[{"text": "fever", "answer_start": 10**400}]), "refused"),
    "start-negative": ("a.json", _article(answers=[{"text": "fever", "answer_start": -9}]), "refused"),
    "start-float": ("a.json", _article(answers=[{"text": "fever", "answer_start": 2.5}]), "refused"),
    "start-nan": ("a.json", _article(answers=[{"text": "fever", "answer_start": float("nan")}]), "refused"),
    "start-text": ("a.json", _article(answers=[{"text": "fever", "answer_start": "2"}]), "refused"),
    "start-true": ("a.json", _article(answers=[{"text": "", "answer_start": True}]), "refused"),
    "start-wrong": ("a.json", _article(answers=[{"text": "fever", "answer_start": 3}]), "refused"),
    "answers-text": ("a.json", _article(answers="fever"), "refused"),
    "answers-number": ("a.json", _article(answers=7), "refused"),
    "answers-parallel-text": ("a.json", _article(answers={"text": 5, "answer_start": 7}), "refused"),
    "answers-parallel-uneven": ("a.json", _article(answers={"text": ["fever", "x"], "answer_start": [2]}), "either"),
    "answers-null": ("a.json", _article(answers=None), "refused"),
    "answer-null": ("a.json", _article(answers=[None]), "refused"),
    "answers-200000": ("a.json", lambda: _article(answers=[{"text": "fever", "answer_start": 2}] * 200_000).encode(), "either"),
    "question-number": ("a.json", _article(question=7), "refused"),
    "question-nested": ("a.json", _article(id=json.loads(nested(500))), "either"),
    "id-huge": ("a.json", lambda: _article(id="x" * 10_000_000, question=1).encode(), "refused"),
    "context-null": ("a.json", '{"data": [{"paragraphs": [{"context": null, "qas": [{"question": "a", "answers": []}]}]}]}', "refused"),
    "articles-text": ("a.json", '{"data": "text"}', "refused"),
    "article-text": ("a.json", '{"data": ["text"]}', "refused"),
    "paragraphs-number": ("a.json", '{"data": [{"paragraphs": 7}]}', "refused"),
    "qas-object": ("a.json", '{"data": [{"paragraphs": [{"context": "a", "qas": {"a": 1}}]}]}', "refused"),
    "nested": ("a.json", nested(100_000), "refused"),
    "nested-inside": ("a.json", '{"data": ' + nested(100_000) + "}", "refused"),
    "huge-integer": ("a.json", '{"data": ' + "9" * 100_000 + "}", "refused"),
    "nothing": ("a.json", "", "refused"),
    "truncated": ("a.json", _article()[:-20], "refused"),
    "no-articles": ("a.json", '{"data": []}', "refused"),
    "lone-surrogate": ("a.json", _article(question="\ud800?"), "refused"),
    "bomb-of-zeros": ("a.json.gz", lambda: bomb(bytes(1024)), "refused"),
    "bomb-of-lines": ("a.json.gz", lambda: bomb(b"\n" * 1024), "refused"),
    "bomb-of-lists": ("a.json.gz", lambda: bomb(b"[]," * 1024), "refused"),
    "64-mb-of-lists": ("a.json", lambda: b'{"data": [' + b"[]," * 20_000_000 + b"0]}", "refused"),
    "line-of-50-mb": ("a.json", lambda: b'{"data": ["' + b"x" * 50_000_000 + b'"]}', "refused"),
}  # fmt: skip

PAIRS: dict[str, tuple[str, Content, Outcome]] = {
    "score-nan": ("a.csv", "text_a,text_b,score\na,b,nan\nc,d,1\n", "refused"),
    "score-infinite": ("a.csv", "text_a,text_b,score\na,b,inf\nc,d,1\n", "refused"),
    "score-huge": ("a.csv", "text_a,text_b,score\na,b,1e999\nc,d,1\n", "refused"),
    "score-of-100000-digits": ("a.csv", lambda: b"text_a,text_b,score\na,b," + b"9" * 100_000 + b"\n", "refused"),
    "score-hexadecimal": ("a.csv", "text_a,text_b,score\na,b,0x10\n", "refused"),
    "score-other-digits": ("a.csv", "text_a,text_b,score\na,b,\u0661\nc,d,\u0662\n", "either"),
    "score-list": ("a.jsonl", '{"text_a": "a", "text_b": "b", "score": [1]}\n', "refused"),
    "score-integer-huge": ("a.jsonl", '{"text_a": "a", "text_b": "b", "score": 1' + "0" * 400 + "}\n", "refused"),
    "score-true": ("a.jsonl", '{"text_a": "a", "text_b": "b", "score": true}\n', "either"),
    "text-null": ("a.jsonl", '{"text_a": null, "text_b": "b", "score": 1}\n', "refused"),
    "label-unknown": ("a.csv", "text_a,text_b,label\na,b,os.system\n", "refused"),
    "texts-empty": ("a.csv", 'text_a,text_b,score\n"","",1\n', "refused"),
}


def _parquet(path: Path, **columns: Any) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), path, compression="zstd")


def _good_parquet(path: Path, count: int = 100) -> None:
    _parquet(path, text=["a fever", "the trial"] * count, label=["A", "B"] * count)


def _spoilt(change: Callable[[bytes], bytes]) -> Callable[[Path, Good], None]:
    def make(path: Path, _: Good) -> None:
        _good_parquet(path)
        path.write_bytes(change(path.read_bytes()))

    return make


def _declared(path: Path, _: Good) -> None:
    """The footer says 2**62 rows where it said 200."""
    _good_parquet(path)
    whole = path.read_bytes()
    foot = int.from_bytes(whole[-8:-4], "little")
    head, footer = whole[: -8 - foot], whole[-8 - foot : -8]
    # Thrift writes 200 as the zigzag varint 0x90 0x03 behind the field's type 0x16; 2**62 takes nine bytes more.
    changed = footer.replace(b"\x16\x90\x03", b"\x16" + b"\x80" * 8 + b"\x80\x01")
    path.write_bytes(head + changed + struct.pack("<I", len(changed)) + whole[-4:])


def _repeated(length: int, count: int) -> Callable[[Path, Good], None]:
    """One long text in every row: a dictionary of one entry, and a file of next to nothing."""

    def make(path: Path, _: Good) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        texts = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["x" * length]))
        labels = pa.array(["A", "B"] * (count // 2))
        parquet.write_table(pa.table({"text": texts, "label": labels}), path, compression="zstd",
                            dictionary_pagesize_limit=1 << 30, use_dictionary=["text"], store_schema=False)  # fmt: skip

    return make


def _rows(count: int) -> Callable[[Path, Good], None]:
    def make(path: Path, _: Good) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        one = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int8()), pa.array([""]))
        table = pa.table({"text": one, "label": one})
        with parquet.ParquetWriter(path, table.schema, compression="zstd") as writer:
            for _i in range(count // 1_000_000):
                writer.write_table(table)

    return make


def _deep(path: Path, _: Good) -> None:
    """A column of lists in lists."""
    import pyarrow as pa

    kind: Any = pa.string()
    for _i in range(60):
        kind = pa.list_(kind)
    value: Any = "x"
    for _i in range(60):
        value = [value]
    _parquet(path, text=["a"], label=["A"], more=pa.array([value], kind))


def _wide(path: Path, _: Good) -> None:
    _parquet(path, text=["a"], label=["A"], **{f"c{i}": [1] for i in range(20_000)})


def _packed_bomb(path: Path, _: Good) -> None:
    path.write_bytes(bomb(bytes(1024)))


def _collection(judgements: Content, corpus: Content | None = None) -> Callable[[Path, Good], None]:
    """Judgements of BEIR, with a query and a corpus beside them; a function may make it."""

    def make(path: Path, good: Good) -> None:
        _written(path.name, judgements, good, path.parent)
        _written("queries.jsonl", '{"_id": "q", "text": "a fever"}\n', good, path.parent)
        if corpus is not None:
            packed = not isinstance(corpus, str)
            _written("corpus.jsonl.gz" if packed else "corpus.jsonl", corpus, good, path.parent)

    return make


JUDGED = "query-id\tcorpus-id\tscore\n"
PASSAGES = '{"_id": "d", "text": "the trial"}\n{"_id": "e", "text": "blood"}\n'


def _link(target: str) -> Callable[[Path, Good], None]:
    return lambda path, good: os.symlink(target.replace("OUTSIDE", str(good.secret)), path)


MADE: dict[str, tuple[str, str, Callable[[Path, Good], Any], Outcome]] = {
    "parquet-good": ("text", "a.parquet", lambda path, _: _good_parquet(path), "answered"),
    "parquet-nothing": ("text", "a.parquet", lambda path, _: path.write_bytes(b""), "refused"),
    "parquet-garbage": ("text", "a.parquet", lambda path, _: path.write_bytes(b"PAR1" + bytes(range(256)) * 50 + b"PAR1"), "refused"),
    "parquet-marks-alone": ("text", "a.parquet", lambda path, _: path.write_bytes(b"PAR1\0\0\0\0PAR1"), "refused"),
    "parquet-foot-too-long": ("text", "a.parquet", _spoilt(lambda b: b[:-8] + b"\xff\xff\xff\x7fPAR1"), "refused"),
    "parquet-cut-off": ("text", "a.parquet", _spoilt(lambda b: b[:-50]), "refused"),
    "parquet-start-missing": ("text", "a.parquet", _spoilt(lambda b: b[40:]), "refused"),
    "parquet-pages-garbage": ("text", "a.parquet", _spoilt(lambda b: b[:4] + bytes(60) + b[64:]), "refused"),
    "parquet-pages-ones": ("text", "a.parquet", _spoilt(lambda b: b[:20] + b"\xff" * 60 + b[80:]), "refused"),
    "parquet-rows-declared": ("text", "a.parquet", _declared, "refused"),
    "parquet-text-repeated": ("text", "a.parquet", _repeated(4_000_000, 1000), "refused"),
    "parquet-text-repeated-often": ("text", "a.parquet", _repeated(100_000, 200_000), "refused"),
    "parquet-cell-of-200-mb": ("text", "a.parquet", _repeated(200_000_000, 2), "refused"),
    "parquet-300-million-rows": ("text", "a.parquet", _rows(300_000_000), "refused"),
    "parquet-lists-in-lists": ("text", "a.parquet", _deep, "either"),
    "parquet-20000-columns": ("text", "a.parquet", _wide, "either"),
    "parquet-numbers": ("text", "a.parquet", lambda path, _: _parquet(path, text=[1.5, None], label=[None, b"x"]), "refused"),
    "parquet-bytes": ("text", "a.parquet", lambda path, _: _parquet(path, text=[b"\xff\xfe"], label=["A"]), "refused"),
    "parquet-bomb-gz": ("text", "a.parquet.gz", _packed_bomb, "refused"),
    "parquet-encrypted": ("text", "a.parquet", _spoilt(lambda b: b[:-4] + b"PARE"), "refused"),
    "beir-good": ("pairs", "a.tsv", _collection(JUDGED + "q\td\t1\nq\te\t1\n", PASSAGES), "either"),
    "beir-no-corpus": ("pairs", "a.tsv", _collection(JUDGED + "q\td\t1\n"), "refused"),
    "beir-ids-of-paths": ("pairs", "a.tsv", _collection(JUDGED + "../../etc/passwd\t/etc/passwd\t1\n", PASSAGES), "refused"),
    "beir-1500000-judgements": (
        "pairs", "a.tsv", _collection(lambda: JUDGED.encode() + b"".join(b"q%d\td\t1\n" % i for i in range(1_500_000)), PASSAGES), "refused"),
    "beir-corpus-nested": ("pairs", "a.tsv", _collection(JUDGED + "q\td\t1\n", '{"_id": "d", "text": ' + nested(900) + "}\n"), "refused"),
    "beir-corpus-ids-again": ("pairs", "a.tsv", _collection(JUDGED + "q\td\t1\n", PASSAGES * 2), "refused"),
    "beir-corpus-bomb": ("pairs", "a.tsv", _collection(JUDGED + "q\td\t1\n", lambda: bomb(PASSAGES.encode() * 64)), "refused"),
    "beir-scores-huge": ("pairs", "a.tsv", _collection(JUDGED + "q\td\t1e999\nq\te\tnan\n", PASSAGES), "refused"),
    "link-elsewhere": ("text", "a.csv", lambda path, good: os.symlink(good.project / "data/sections.csv", path), "answered"),
    "link-loop": ("ner", "a.conll", _link("a.conll"), "refused"),
    "link-to-zeros": ("ner", "a.conll", _link("/dev/zero"), "refused"),
    "link-to-zeros-parquet": ("text", "a.parquet", _link("/dev/zero"), "refused"),
    "link-to-memory": ("text", "a.csv", _link("/proc/self/mem"), "refused"),
    "pipe": ("text", "a.jsonl", lambda path, _: os.mkfifo(path), "refused"),
    "pipe-packed": ("text", "a.jsonl.gz", lambda path, _: os.mkfifo(path), "refused"),
    "pipe-parquet": ("text", "a.parquet", lambda path, _: os.mkfifo(path), "refused"),
    "folder": ("qa", "a.json", lambda path, _: path.mkdir(), "refused"),
}  # fmt: skip
