"""CoNLL columns under any name; what is no column of words and tags is refused."""

from __future__ import annotations

import pytest

from datafiles import NER, refusal_of, rows_of
from manyheads.data.formats.rows import RawRow


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.tsv", "a.bio", "eng.train", "plain", "a.conll.gz", "A.TSV.GZ"])
def test_conll_columns_are_read_under_any_name(write, name):
    path = write(name, "EU\tB-ORG\nrejects\tO\n\nGermany\tB-LOC\n")
    assert rows_of(path, NER) == [
        RawRow({"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"], "document": ""}, f"{path}:1", 2),
        RawRow({"tokens": ["Germany"], "tags": ["B-LOC"], "document": ""}, f"{path}:4", 1),
    ]


def test_four_columns_docstart_runs_of_spaces_and_blank_lines_of_tabs(write):
    path = write(
        "eng.train",
        "-DOCSTART- -X- O O\r\n\r\nEU NNP  I-NP I-ORG\r\n\t\r\n \nso RB O O\n-DOCSTART- -X- O O\nPeter NNP I-NP I-PER",
    )
    rows = rows_of(path, NER)
    assert [row.values["tokens"] for row in rows] == [["EU"], ["so"], ["Peter"]]
    assert [row.values["tags"] for row in rows] == [["I-ORG"], ["O"], ["I-PER"]]
    assert [row.values["document"] for row in rows] == ["eng.train#1", "eng.train#1", "eng.train#2"]
    assert [row.where for row in rows] == ["eng.train:3", "eng.train:6", "eng.train:8"]


def test_only_tabs_and_spaces_separate_columns(write):
    path = write("a.conll", "10\u00a0mg B-DOSE\nwas\u2028watched O\n\u3000 O\n")
    assert rows_of(path, NER)[0].values["tokens"] == ["10\u00a0mg", "was\u2028watched", "\u3000"]
    assert rows_of(write("b.tsv", "New York\tB-LOC\n"), NER)[0].values["tokens"] == ["New York"]


def test_conll_column_count_that_changes_is_refused(write):
    path = write("ner/train.conll", "EU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nGermany NNP I-LOC\n")
    assert refusal_of(path, NER) == (
        "ner/train.conll:4 has 3 columns, the lines before it have 4; fix the line or split the file"
    )
    path = write("ner/train.tsv", "EU\tB-ORG\nrejects\t\n")
    assert refusal_of(path, NER) == (
        "ner/train.tsv:2 has 1 column, the lines before it have 2; fix the line or split the file"
    )


def test_conll_without_tags_or_words_is_refused(write):
    assert refusal_of(write("a.txt", "\nEU\n"), NER) == (
        "a.txt:2 has 1 column, a word and its tag are needed; separate them by a space or a tab"
    )
    assert refusal_of(write("b.tsv", "EU\tO\n\tO\n"), NER) == (
        "b.tsv:2 has an empty first column; put the word there, or remove the line"
    )
