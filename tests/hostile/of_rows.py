"""Spoilt rows to answer, and answers to score."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostile.corpus import Case, Outcome, nested
from hostile.good import Good
from hostile.of_data import MADE, bomb

Content = bytes | str | Callable[[], bytes]
GOOD = '{"text": "a fever"}\n'


def cases() -> list[Case]:
    """Input of `predict`, and input of `score`."""
    made = [Case(f"rows/{name}", "requests", partial(_written, file, content), outcome)
            for name, (file, content, outcome) in ROWS.items()]  # fmt: skip
    for name in PARQUETS:
        _, file, make, _ = MADE[name]
        made.append(Case(f"rows/{name}", "requests", partial(_made, file, make), "either"))
    made += [Case(f"rows/{name}", "requests", partial(_made, file, make)) for name, (file, make) in FILES.items()]
    made += [Case(f"answers/{name}", "answers", partial(_answers, content), outcome)
             for name, (content, outcome) in ANSWERS.items()]  # fmt: skip
    return made


def _written(file: str, content: Content, _: Good, folder: Path) -> Path:
    found = content() if callable(content) else content
    (folder / file).write_bytes(found.encode("utf-8", "surrogatepass") if isinstance(found, str) else found)
    return folder / file


def _made(file: str, make: Callable[[Path, Good], Any], good: Good, folder: Path) -> Path:
    make(folder / file, good)
    return folder / file


def _answers(content: Content, good: Good, folder: Path) -> Path:
    gold = [{"text": "a fever", "label": "A"}, {"text": "the trial", "label": "B"}]
    (folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
    return _written("answers.jsonl", content, good, folder)


ROWS: dict[str, tuple[str, Content, Outcome]] = {
    "good": ("a.jsonl", GOOD, "answered"),
    "nested": ("a.jsonl", nested(100_000) + "\n" + GOOD, "answered"),
    "nested-text": ("a.jsonl", '{"text": ' + nested(100_000) + "}\n" + GOOD, "answered"),
    "nested-id": ("a.jsonl", '{"text": "a", "id": ' + nested(990) + "}\n" + GOOD, "answered"),
    "id-of-100000-digits": ("a.jsonl", '{"text": "a", "id": ' + "9" * 100_000 + "}\n" + GOOD, "answered"),
    "id-of-4300-digits": ("a.jsonl", '{"text": "a", "id": ' + "9" * 4_300 + "}\n" + GOOD, "answered"),
    "id-nan": ("a.jsonl", '{"text": "a", "id": NaN}\n' + GOOD, "answered"),
    "id-infinite": ("a.jsonl", '{"text": "a", "id": 1e999}\n' + GOOD, "answered"),
    "id-lone-surrogate": ("a.jsonl", '{"text": "a", "id": "\\ud800"}\n' + GOOD, "answered"),
    "text-lone-surrogate": ("a.jsonl", '{"text": "a \\ud800 fever"}\n' + GOOD, "answered"),
    "text-nul": ("a.jsonl", '{"text": "\\u0000\\u0001 a"}\n' + GOOD, "answered"),
    "text-number": ("a.jsonl", '{"text": 7}\n' + GOOD, "answered"),
    "text-null": ("a.jsonl", '{"text": null}\n' + GOOD, "answered"),
    "text-missing": ("a.jsonl", '{"__class__": "x"}\n' + GOOD, "answered"),
    "text-list-of-10-mb": ("a.jsonl", lambda: b'{"text": [' + b'"x",' * 2_500_000 + b'"x"]}\n' + GOOD.encode(), "answered"),
    "text-of-10-mb": ("a.jsonl", lambda: b'{"text": "' + b"x " * 5_000_000 + b'"}\n' + GOOD.encode(), "answered"),
    "text-of-one-word-of-10-mb": ("a.jsonl", lambda: b'{"text": "' + b"x" * 10_000_000 + b'"}\n' + GOOD.encode(), "answered"),
    "text-of-50-mb": ("a.jsonl", lambda: b'{"text": "' + b"x" * 50_000_000 + b'"}\n' + GOOD.encode(), "answered"),
    "text-of-marks": ("a.jsonl", lambda: json.dumps({"text": "a" + "\u0301" * 50_000}).encode() + b"\n", "answered"),
    "text-of-joiners": ("a.jsonl", lambda: json.dumps({"text": "\U0001f469\u200d" * 20_000}).encode() + b"\n", "answered"),
    "text-of-brackets": ("a.jsonl", lambda: json.dumps({"text": "([{" * 4_000}).encode() + b"\n", "answered"),
    "text-of-spaces": ("a.jsonl", lambda: json.dumps({"text": " " * 900_000}).encode() + b"\n", "answered"),
    "text-of-line-ends": ("a.jsonl", lambda: json.dumps({"text": "\u2028\u0085\r\n\v\f" * 1000}).encode() + b"\n", "answered"),
    "text-right-to-left": ("a.jsonl", json.dumps({"text": "\u202e\u2066a fever\u2069"}) + "\n", "answered"),
    "question-number": ("a.jsonl", '{"text": "a", "question": 7}\n' + GOOD, "answered"),
    "question-of-1-mb": ("a.jsonl", lambda: b'{"text": "a", "question": "' + b"x " * 200_000 + b'"}\n', "answered"),
    "tokens-numbers": ("a.jsonl", '{"tokens": [1, null]}\n' + GOOD, "answered"),
    "tokens-nested": ("a.jsonl", '{"tokens": ' + nested(500) + "}\n" + GOOD, "answered"),
    "tokens-empty": ("a.jsonl", '{"tokens": []}\n' + GOOD, "answered"),
    "tokens-of-300000-words": ("a.jsonl", lambda: json.dumps({"tokens": ["a"] * 300_000}).encode() + b"\n", "answered"),
    "targets-aside": ("a.jsonl", '{"text": "a", "targets": {"x": [1e999]}}\n', "answered"),
    "keys-twice": ("a.jsonl", '{"text": "a", "text": "b"}\n', "answered"),
    "a-list": ("a.jsonl", "[1, 2]\n" + GOOD, "answered"),
    "a-string": ("a.jsonl", '"text"\n' + GOOD, "answered"),
    "not-json": ("a.jsonl", "{]\n" + GOOD, "answered"),
    "not-utf8": ("a.jsonl", b'{"text": "\xff\xfe"}\n' + GOOD.encode(), "answered"),
    "utf16": ("a.jsonl", GOOD.encode("utf-16"), "answered"),
    "nothing": ("a.jsonl", "", "either"),
    "blank-lines": ("a.jsonl", lambda: b"\n" * 3_000_000 + GOOD.encode(), "answered"),
    "nul-bytes": ("a.jsonl", bytes(100_000), "answered"),
    "garbage": ("a.jsonl", lambda: bytes(range(256)) * 1000, "answered"),
    "bomb-of-zeros": ("a.jsonl.gz", lambda: bomb(bytes(1024)), "refused"),
    "bomb-of-lines": ("a.jsonl.gz", lambda: bomb(b"\n" * 1024), "refused"),
    "bomb-of-bad-rows": ("a.jsonl.gz", lambda: bomb(b"[]\n" * 1024), "refused"),
    "gzip-cut-off": ("a.jsonl.gz", lambda: __import__("gzip").compress(GOOD.encode() * 1000, mtime=0)[:-20], "refused"),
    "gzip-not-packed": ("a.jsonl.gz", GOOD, "refused"),
    "gzip-garbage": ("a.csv.gz", b"\x1f\x8b\x08" + bytes(range(256)), "refused"),
    "csv-cell-of-50-mb": ("a.csv", lambda: b'text\n"' + b"x" * 50_000_000 + b'"\n', "refused"),
    "csv-quote-open": ("a.csv", lambda: b'text\n"' + b"x\n" * 20_000_000, "refused"),
    "csv-bomb": ("a.csv.gz", lambda: bomb(b"text\n" * 1024), "refused"),
    "csv-nul": ("a.csv", b"text\na\0b\n", "answered"),
    "csv-not-utf8": ("a.csv", b"text\n\xff\xfe\n", "answered"),
    "csv-lone-surrogate": ("a.csv", "text\na\ud800\n", "answered"),
    "csv-columns-1000000": ("a.csv", lambda: b"text" + b",x" * 1_000_000 + b"\na\n", "either"),
    "csv-cells-10000000": ("a.csv", lambda: b"text,id\n" + b"," * 10_000_000 + b"\n", "either"),
    "csv-header-missing": ("a.csv", "", "refused"),
    "csv-header-twice": ("a.csv", "text,text\na,b\n", "either"),
    "tsv-quotes": ("a.tsv", 'text\n"a\tb"c"\n', "either"),
    "unknown-ending": ("a.pkl", b"\x80\x04.", "refused"),
    "name-with-controls": ("a\x1b[2J.jsonl", GOOD, "answered"),
}  # fmt: skip

PARQUETS = ("parquet-nothing", "parquet-garbage", "parquet-marks-alone", "parquet-foot-too-long", "parquet-cut-off",
            "parquet-pages-garbage", "parquet-pages-ones", "parquet-rows-declared", "parquet-text-repeated",
            "parquet-cell-of-200-mb", "parquet-300-million-rows", "parquet-lists-in-lists", "parquet-bytes",
            "parquet-bomb-gz", "link-to-zeros-parquet", "pipe-parquet")  # fmt: skip

FILES: dict[str, tuple[str, Callable[[Path, Good], Any]]] = {
    "pipe": ("a.jsonl", lambda path, _: os.mkfifo(path)),
    "pipe-csv": ("a.csv", lambda path, _: os.mkfifo(path)),
    "link-loop": ("a.jsonl", lambda path, _: os.symlink("a.jsonl", path)),
    "link-to-zeros": ("a.jsonl", lambda path, _: os.symlink("/dev/zero", path)),
    "folder": ("a.jsonl", lambda path, _: path.mkdir()),
    "missing": ("a.jsonl", lambda *_: None),
}

_ANSWER = '{"tasks": {"section": {"label": "A", "score": 1.0}}}\n{"tasks": {"section": {"label": "B", "score": 1.0}}}\n'
ANSWERS: dict[str, tuple[Content, Outcome]] = {
    "good": (_ANSWER, "answered"),
    "nested": (nested(100_000) + "\n", "refused"),
    "nested-inside": ('{"tasks": {"section": ' + nested(900) + "}}\n" * 2, "refused"),
    "huge-integer": ('{"tasks": {"section": ' + "9" * 100_000 + "}}\n", "refused"),
    "label-number": ('{"tasks": {"section": {"label": 7}}}\n' * 2, "either"),
    "label-nan": ('{"tasks": {"section": {"label": NaN}}}\n' * 2, "refused"),
    "label-list": ('{"tasks": {"section": {"label": ["A"]}}}\n' * 2, "refused"),
    "label-lone-surrogate": ('{"tasks": {"section": {"label": "\\ud800"}}}\n' * 2, "either"),
    "tasks-list": ('{"tasks": []}\n' * 2, "refused"),
    "rows-fewer": (_ANSWER.splitlines()[0] + "\n", "refused"),
    "line-of-50-mb": (lambda: b'{"x": "' + b"x" * 50_000_000 + b'"}\n', "refused"),
    "not-utf8": (b"\xff\xfe\n", "refused"),
    "nothing": ("", "refused"),
    "garbage": (bytes(range(256)) * 1000, "refused"),
}
