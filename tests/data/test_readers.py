"""What holds for files of any format; every message whole, because the message is what the user works with."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from datafiles import NER, PAIRS, QA, TEXT, refusal_of


@pytest.mark.parametrize(
    ("name", "kind"), [("a.conll", NER), ("a.jsonl", NER), ("a.csv", TEXT), ("a.tsv.gz", PAIRS), ("a.json", QA)]
)
def test_an_empty_file_is_refused(write, name, kind):
    assert refusal_of(write(name, ""), kind) == f"{name} is empty; give a file with data"
    assert refusal_of(write(name, "\n\n"), kind if kind != QA else NER) == f"{name} has no rows; give a file with data"


def test_the_first_byte_that_is_not_utf8_is_named(write):
    assert refusal_of(write("a.conll", "été O\nna\xefve O\n".encode().replace(b"\xc3\xaf", b"\xef")), NER) == (
        "a.conll:2 is not UTF-8: byte 0xef at column 3; save the file as UTF-8"
    )
    assert refusal_of(write("b.csv.gz", b'text,label\n"a\n\xe9",A\n'), TEXT) == (
        "b.csv.gz:3 is not UTF-8: byte 0xe9 at column 1; save the file as UTF-8"
    )
    assert refusal_of(write("c.jsonl", '{"text": 1}'.encode("utf-16")), TEXT) == (
        "c.jsonl:1 is not UTF-8: byte 0xff at column 1 (it looks like UTF-16); save the file as UTF-8"
    )


def test_a_missing_file_names_the_nearest(write):
    write("ner/train.conll.gz", "a O")
    assert refusal_of(Path("ner/train.conl"), NER) == "ner/train.conl does not exist; did you mean train.conll.gz?"
    assert refusal_of(Path("ner/x"), NER) == "ner/x does not exist; no file in ner has a similar name"
    assert refusal_of(Path("nor/train.conll"), NER) == "nor/train.conll does not exist, and neither does its folder nor"
    assert refusal_of(Path("ner"), NER) == "ner is a folder; name the file, or a list of files"


def test_a_damaged_gzip_file_is_refused(write):
    whole = gzip.compress(b"EU O\n" * 100_000)
    path = write("a.conll", whole[:-20]).rename("a.conll.gz")
    assert refusal_of(path, NER) == (
        "a.conll.gz is a damaged or cut-off gzip file "
        "(Compressed file ended before the end-of-stream marker was reached); copy it again"
    )
    path = write("b.conll", b"EU O\n").rename("b.conll.gz")
    assert "b.conll.gz is a damaged or cut-off gzip file (Not a gzipped file" in refusal_of(path, NER)


def test_an_unknown_format_lists_the_known_ones(write):
    assert refusal_of(write("a.txt", "x"), TEXT) == (
        "a.txt: text-classification data is read from .csv, .json, .jsonl, .ndjson, .parquet, .tsv, each also as .gz"
    )
    assert refusal_of(write("a.csv", "x"), QA) == (
        "a.csv: question-answering data is read from .json, .jsonl, .ndjson, .parquet, each also as .gz"
    )
    assert refusal_of(write("a.csv", "x"), NER) == (
        "a.csv: token-classification data is read from CoNLL columns (.conll, .txt, .tsv, ...), "
        ".json, .jsonl, .ndjson, .parquet, each also as .gz"
    )
