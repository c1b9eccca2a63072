"""What holds for files of any format; every message whole, because the message is what the user works with."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest

from datafiles import NER, PAIRS, QA, TEXT, refusal_of, rows_of

HOW = ", or convert it from its encoding: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"
WIDE = HOW.replace("WINDOWS-1252", "UTF-16")


@pytest.mark.parametrize(
    ("name", "kind"), [("a.conll", NER), ("a.jsonl", NER), ("a.csv", TEXT), ("a.tsv.gz", PAIRS), ("a.json", QA)]
)
def test_an_empty_file_is_refused(write, name, kind):
    assert refusal_of(write(name, ""), kind) == f"{name} is empty; give a file with data"
    assert refusal_of(write(name, "\n\n"), kind if kind != QA else NER) == f"{name} has no rows; give a file with data"


def test_the_first_byte_that_is_not_utf8_is_named(write):
    assert refusal_of(write("a.conll", "été O\nna\xefve O\n".encode().replace(b"\xc3\xaf", b"\xef")), NER) == (
        f"a.conll:2 is not UTF-8: byte 0xef at column 3; save the file as UTF-8{HOW}"
    )
    assert refusal_of(write("b.csv.gz", b'text,label\n"a\n\xe9",A\n'), TEXT) == (
        f"b.csv.gz:3 is not UTF-8: byte 0xe9 at column 1; save the file as UTF-8{HOW}"
    )
    assert refusal_of(write("c.jsonl", '{"text": 1}'.encode("utf-16")), TEXT) == (
        f"c.jsonl:1 is not UTF-8: byte 0xff at column 1 (it looks like UTF-16); save the file as UTF-8{WIDE}"
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
        "a.conll.gz is a damaged or truncated gzip file "
        "(Compressed file ended before the end-of-stream marker was reached); copy it again"
    )
    path = write("b.conll", b"EU O\n").rename("b.conll.gz")
    assert "b.conll.gz is a damaged or truncated gzip file (Not a gzipped file" in refusal_of(path, NER)


@pytest.mark.parametrize(
    ("name", "head", "told"),
    [
        ("a.csv", b"PK\x03\x04\xff", "is a zip archive; unpack it, and give the files in it"),
        ("a.xlsx", b"PK\x03\x04\xff", "is a spreadsheet; save it as CSV (UTF-8)"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1", "is a spreadsheet; save it as CSV (UTF-8)"),
        ("a.jsonl", b"\x1f\x8b\x08\x00", "is gzipped; let its name end in .gz"),
        ("a.csv.bz2", b"BZh91AY", "is a bzip2 file; unpack it, and give the files in it"),
    ],
)
def test_files_of_other_kinds_are_refused_with_what_to_do(write, name, head, told):
    for kind in (NER, TEXT, QA):
        assert refusal_of(write(name, head), kind) == f"{name} {told}"


def test_an_unknown_format_lists_the_known_ones(write):
    assert refusal_of(write("a.txt", "x"), TEXT) == (
        "a.txt: text-classification data is read from .csv, .json, .jsonl, .ndjson, .parquet, .tsv, each also as .gz"
    )
    assert refusal_of(write("a.txt", "x"), QA) == (
        "a.txt: question-answering data is read from .csv, .json, .jsonl, .ndjson, .parquet, .tsv, each also as .gz"
    )


@pytest.mark.long
def test_a_bomb_is_refused_and_a_repetition_of_a_small_file_is_not(write):
    assert len(rows_of(write("a.conll", b"EU O\n\n" * 100_000), NER)) == 100_000
    assert len(rows_of(write("a.conll.gz", b"EU O\n\n" * 100_000), NER)) == 100_000
    assert refusal_of(write("b.conll.gz", b"EU O\n\n" * 1_000_000), NER) == (
        "b.conll.gz unpacks to more than 100 times its size, which real data never does; if the file is valid, "
        "unpack it and give that file"
    )
    honest = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).hexdigest().encode() + b" O\n" for i in range(20_000))
    late = write("c.conll.gz", honest + (b"x" * 1000 + b" O\n") * 120_000)
    assert refusal_of(late, NER).startswith("c.conll.gz unpacks to more than 100 times")


def test_lines_without_end_pipes_and_circles_are_refused(write):
    assert (
        refusal_of(write("a.conll", b"x" * 5_000_000), NER) == "a.conll:1 is longer than 4 MB; cut its text into parts"
    )
    os.mkfifo("a.csv")
    assert refusal_of(Path("a.csv"), TEXT) == (
        "a.csv is a pipe or a device, which cannot be read twice; write the data to a file"
    )
    os.symlink("b.csv", "b.csv")
    assert refusal_of(Path("b.csv"), TEXT) == "b.csv cannot be read: Too many levels of symbolic links"
    assert refusal_of(Path("c\0.csv"), TEXT) == "'c\\x00.csv' is not a valid file name; correct it"


def test_squad_in_one_line_of_many_megabytes_is_read_and_what_has_too_many_values_is_not(write):
    paragraphs = [{"context": f"{i} " + "x" * 2000, "qas": [{"question": "a", "answers": []}]} for i in range(4000)]
    assert len(rows_of(write("a.json", json.dumps({"data": [{"paragraphs": paragraphs}]})), QA)) == 4000
    assert refusal_of(write("b.json", '{"data": [' + "[]," * 3_000_000 + "0]}"), QA) == (
        "b.json has more lists, objects and values than fit into memory; cut it into several files"
    )
    assert refusal_of(write("c.json", "[" * 100_000), QA).startswith(
        "c.json is not valid JSON: maximum recursion"
    )
    assert refusal_of(write("d.json", b'{"data":\n "\xff"}'), QA) == (
        f"d.json:2 is not UTF-8: byte 0xff at column 3; save the file as UTF-8{HOW}"
    )
