"""Every format good and broken; every message whole, because the message is what the user works with."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from manyheads.data.readers import RawRow, read_rows
from manyheads.errors import DataError

NER, TEXT, QA, PAIRS = "token-classification", "text-classification", "question-answering", "sentence-embedding"


def rows_of(path: Path, kind: str) -> list[RawRow]:
    return list(read_rows(path, kind))


def refusal(path: Path, kind: str) -> str:
    with pytest.raises(DataError) as caught:
        rows_of(path, kind)
    return str(caught.value)


# -- CoNLL columns ------------------------------------------------------------------------------------------------------
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
    assert refusal(path, NER) == (
        "ner/train.conll:4 has 3 columns, the lines before it have 4; fix the line or split the file"
    )
    path = write("ner/train.tsv", "EU\tB-ORG\nrejects\t\n")
    assert refusal(path, NER) == (
        "ner/train.tsv:2 has 1 column, the lines before it have 2; fix the line or split the file"
    )


def test_conll_without_tags_or_words_is_refused(write):
    assert refusal(write("a.txt", "\nEU\n"), NER) == (
        "a.txt:2 has 1 column, a word and its tag are needed; separate them by a space or a tab"
    )
    assert refusal(write("b.tsv", "EU\tO\n\tO\n"), NER) == (
        "b.tsv:2 has an empty first column; put the word there, or remove the line"
    )


# -- JSON lines ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz"])
def test_json_lines_are_read(write, name):
    path = write(name, '\ufeff{"text": "naïve 😀", "label": "A"}\n\n{"text": "b", "targets": {"x": [1]}}')
    assert rows_of(path, TEXT) == [
        RawRow({"text": "naïve 😀", "label": "A"}, f"{path}:1"),
        RawRow({"text": "b", "targets": {"x": [1]}}, f"{path}:3"),
    ]


def test_broken_json_lines_are_refused(write):
    assert refusal(write("a.jsonl", '{"text": "a"}\n{"text": "b" "label": 1}\n'), TEXT) == (
        "a.jsonl:2 is not valid JSON: Expecting ',' delimiter at column 14; write one JSON object on each line"
    )
    assert refusal(write("b.jsonl", '{"text": "a"}\n["b"]\n'), TEXT) == (
        "b.jsonl:2 holds a list, not a JSON object; write one {...} with its keys on each line"
    )
    assert refusal(write("d.jsonl", "[" * 200_000), TEXT).startswith("d.jsonl:1 is not JSON that can be read: ")
    assert refusal(write("c.json", '[\n{"text": "a"}\n]\n'), TEXT) == (
        "c.json:1 is not valid JSON: Expecting value at column 2; the file looks like one JSON array; "
        "write one JSON object on each line"
    )


# -- csv and tsv --------------------------------------------------------------------------------------------------------
def test_csv_quotes_embedded_newlines_and_line_numbers(write):
    path = write(
        "a.csv",
        '\ufeff text ,label\n"two\nlines, ""quoted""",A\n\n"x\r\ny\n\nz",B\nplain,C\n"' + "long " * 40_000 + '",D\n',
    )
    rows = rows_of(path, TEXT)
    assert [row.where for row in rows] == ["a.csv:2", "a.csv:5", "a.csv:9", "a.csv:10"]
    assert [row.values["text"] for row in rows[:3]] == ['two\nlines, "quoted"', "x\r\ny\n\nz", "plain"]
    assert len(rows[3].values["text"]) == 200_000


def test_tsv_and_optional_columns(write):
    path = write("a.tsv.gz", "text\ttext_pair\tlabel\tnote\nIt's 5\" wide\t\tA\t\nb\tc\tB\tx\n")
    assert [row.values for row in rows_of(path, TEXT)] == [
        {"text": "It's 5\" wide", "text_pair": None, "label": "A", "note": ""},
        {"text": "b", "text_pair": "c", "label": "B", "note": "x"},
    ]


def test_csv_without_a_header_says_what_was_expected_and_what_is_there(write):
    path = write("sst.tsv", "one long string of cliches\t0\nanother\t1\n")
    assert refusal(path, TEXT) == (
        "sst.tsv:1 should be a header with the columns text, label or text, labels, "
        "seen one long string of cliches | 0; add that line, or rename columns"
    )
    path = write("sts.csv", "A man is dancing with a hard hat on his very own head.,A man.,5.0\n")
    assert refusal(path, PAIRS) == (
        "sts.csv:1 should be a header with the columns text_a, text_b, "
        "seen A man is dancing with a hard hat on his … | A man. | 5.0; add that line, or rename columns"
    )


def test_broken_csv_is_refused(write):
    assert refusal(write("a.csv", "text,label\n\na,A\nb, with comma,B\n"), TEXT) == (
        "a.csv:4 has 3 columns, the header has 2 (text, label); fill the row in, or quote a cell that holds a comma"
    )
    assert refusal(write("b.csv", 'text,label\na,A\n"never closed,B\nc,C\n'), TEXT).startswith(
        "b.csv:3 has a cell whose quotes do not match (unexpected end of data); "
    )
    assert refusal(write("c.tsv", 'text\tlabel\n"Hi" she said\tA\n'), TEXT) == (
        "c.tsv:2 has a cell whose quotes do not match ('\t' expected after '\"'); a cell that starts with a quote ends "
        "with one before the next tab, and quotes inside it are doubled"
    )
    assert refusal(write("d.csv", "text,label,text\na,A,b\n"), TEXT) == (
        "d.csv:1 names the column 'text' twice; rename one of them"
    )
    assert refusal(write("e.csv", "text,label\n"), TEXT) == "e.csv has no rows; give a file with data"


# -- parquet ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("packed", [False, True])
def test_parquet_is_read(write, packed):
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"text": ["a", "ü"] * 1500, "labels": [["X"], []] * 1500}), sink)
    path = write("a.parquet.gz" if packed else "a.parquet", sink.getvalue().to_pybytes())
    rows = rows_of(path, TEXT)
    assert len(rows) == 3000
    assert rows[2999] == RawRow({"text": "ü", "labels": []}, f"{path}: row 3000")


def test_broken_parquet_is_refused(write):
    assert refusal(write("a.parquet", "no parquet at all"), TEXT).startswith("a.parquet is no readable parquet file: ")
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"sentence": ["a"], "label": ["X"]}), sink)
    assert refusal(write("b.parquet", sink.getvalue().to_pybytes()), TEXT) == (
        "b.parquet has the columns sentence, label; expected text, label or text, labels"
    )


# -- SQuAD --------------------------------------------------------------------------------------------------------------
def squad(*questions: dict, context: str = "Paris is in France.") -> str:
    paragraphs = [{"context": context, "qas": list(questions)}]
    return json.dumps({"version": "v2.0", "data": [{"title": "Paris", "paragraphs": paragraphs}]})


def test_squad_of_both_versions_is_read(write):
    one = {"id": "q1", "question": "Where?", "answers": [{"text": "France", "answer_start": 12}] * 2}
    two = {"id": "q2", "question": "Who?", "answers": [], "is_impossible": True, "plausible_answers": []}
    path = write("dev.json.gz", squad(one, two))
    shared = {"context": "Paris is in France.", "title": "Paris"}
    answer = {"text": "France", "start": 12}
    assert rows_of(path, QA) == [
        RawRow({"id": "q1", "question": "Where?", "answers": [answer] * 2, **shared}, f"{path}: question 'q1'"),
        RawRow(
            {"id": "q2", "question": "Who?", "answers": [], "is_impossible": True, **shared}, f"{path}: question 'q2'"
        ),
    ]


@pytest.mark.parametrize(
    "answers",
    [
        [{"text": "France", "start": 12}],
        [{"text": "France", "answer_start": 12}],
        {"text": ["France"], "answer_start": [12]},
    ],
)
def test_question_rows_take_answers_in_every_usual_form(write, answers):
    path = write("a.jsonl", json.dumps({"question": "Where?", "context": "Paris is in France.", "answers": answers}))
    assert rows_of(path, QA)[0].values["answers"] == [{"text": "France", "start": 12}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [\n{"title" 1}]}', "a.json:2 is not valid JSON: Expecting ':' delimiter at column 10"),
        (
            '{"question": "a"}\n{"question": "b"}',
            "a.json:2 is not valid JSON: Extra data at column 1; JSON lines are read from files that end in .jsonl",
        ),
        ('{"a": 1}', "a.json is not SQuAD JSON: expected an object with a list 'data', seen an object"),
        ("[1]", "a.json is not SQuAD JSON: expected an object with a list 'data', seen a list"),
        (
            '{"data": [{"title": "x"}]}',
            "a.json: article 1 lacks 'paragraphs'; SQuAD has paragraphs, each with 'context' and 'qas'",
        ),
        (
            '{"data": [7]}',
            "a.json: article 1 is no object or holds one that is none; "
            "SQuAD has paragraphs, each with 'context' and 'qas'",
        ),
        (squad({"id": "q"}), "a.json: question 'q' has no 'question'"),
        (
            squad({"id": "q", "question": "?"}),
            "a.json: question 'q' has no 'answers'; an unanswerable question has an empty list",
        ),
        ('{"data": []}', "a.json has no rows; give a file with data"),
    ],
)
def test_broken_squad_is_refused(write, content, message):
    assert refusal(write("a.json", content), QA) == message


# -- any file -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "kind"), [("a.conll", NER), ("a.jsonl", NER), ("a.csv", TEXT), ("a.tsv.gz", PAIRS), ("a.json", QA)]
)
def test_an_empty_file_is_refused(write, name, kind):
    assert refusal(write(name, ""), kind) == f"{name} is empty; give a file with data"
    assert refusal(write(name, "\n\n"), kind if kind != QA else NER) == f"{name} has no rows; give a file with data"


def test_the_first_byte_that_is_not_utf8_is_named(write):
    assert refusal(write("a.conll", "été O\nna\xefve O\n".encode().replace(b"\xc3\xaf", b"\xef")), NER) == (
        "a.conll:2 is not UTF-8: byte 0xef at column 3; save the file as UTF-8"
    )
    assert refusal(write("b.csv.gz", b'text,label\n"a\n\xe9",A\n'), TEXT) == (
        "b.csv.gz:3 is not UTF-8: byte 0xe9 at column 1; save the file as UTF-8"
    )
    assert refusal(write("c.jsonl", '{"text": 1}'.encode("utf-16")), TEXT) == (
        "c.jsonl:1 is not UTF-8: byte 0xff at column 1 (it looks like UTF-16); save the file as UTF-8"
    )


def test_a_missing_file_names_the_nearest(write):
    write("ner/train.conll.gz", "a O")
    assert refusal(Path("ner/train.conl"), NER) == "ner/train.conl does not exist; did you mean train.conll.gz?"
    assert refusal(Path("ner/x"), NER) == "ner/x does not exist; no file in ner has a similar name"
    assert refusal(Path("nor/train.conll"), NER) == "nor/train.conll does not exist, and neither does its folder nor"
    assert refusal(Path("ner"), NER) == "ner is a folder; name the file, or a list of files"


def test_a_damaged_gzip_file_is_refused(write):
    whole = gzip.compress(b"EU O\n" * 100_000)
    path = write("a.conll", whole[:-20]).rename("a.conll.gz")
    assert refusal(path, NER) == (
        "a.conll.gz is a damaged or cut-off gzip file "
        "(Compressed file ended before the end-of-stream marker was reached); copy it again"
    )
    path = write("b.conll", b"EU O\n").rename("b.conll.gz")
    assert "b.conll.gz is a damaged or cut-off gzip file (Not a gzipped file" in refusal(path, NER)


def test_an_unknown_format_lists_the_known_ones(write):
    assert refusal(write("a.txt", "x"), TEXT) == (
        "a.txt: text-classification data is read from .csv, .json, .jsonl, .ndjson, .parquet, .tsv, each also as .gz"
    )
    assert refusal(write("a.csv", "x"), QA) == (
        "a.csv: question-answering data is read from .json, .jsonl, .ndjson, .parquet, each also as .gz"
    )
    assert refusal(write("a.csv", "x"), NER) == (
        "a.csv: token-classification data is read from CoNLL columns (.conll, .txt, .tsv, ...), "
        ".json, .jsonl, .ndjson, .parquet, each also as .gz"
    )
