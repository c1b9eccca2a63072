"""Columns of any name: renamed as the data source says, in every format, and proposed where they are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from datafiles import NER, PAIRS, QA, TEXT, jsonl, refusal_of
from manyheads.data.build import build_table
from manyheads.data.column_guess import guess_all_columns, guess_columns
from manyheads.data.formats.rows import sound
from manyheads.data.readers import Files, open_files
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES

SENTENCES = ["It broke after a week.", "It works very well.", "I sent it back, sadly.", "Great value for the money.",
             "The colour fades.", "It still works today."]  # fmt: skip
SHORT = ["bad", "good", "bad", "good", "bad", "good"]
IDS = list(range(1, 7))
TAGGED = {"words": [["Ada", "wrote"], ["It", "rains"]], "ner": [["B-PER", "O"], ["O", "O"]]}
ANSWERED = {"q": ["Who wrote?", "Who ran?"], "passage": ["Ada wrote to London.", "Bo ran home."],
            "gold": [[{"text": "Ada", "answer_start": 0}], [{"text": "Bo", "answer_start": 0}]]}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "sample", "expected"),
    [
        (TEXT, {"sentence": SENTENCES, "category": SHORT}, "{text: sentence, label: category}"),
        (TEXT, {"label": SHORT, "review_body": SENTENCES}, "{text: review_body}"),
        (TEXT, {"Text": SENTENCES, "Label": SHORT}, "{text: Text, label: Label}"),
        (TEXT, {"idx": IDS, "content": SENTENCES, "y": [0, 1, 0, 1, 0, 1]}, '{text: content, label: "y"}'),
        (TEXT, {"a": SENTENCES, "b": SHORT}, "{text: a, label: b}"),
        (TEXT, {"b": SHORT, "a": SENTENCES}, "{text: a, label: b}"),
        (TEXT, {"text": SENTENCES, "lable": SHORT}, "{label: lable}"),
        (TEXT, {"tweet": SENTENCES, "emotions": [["joy"], ["joy", "fear"], [], ["fear"], [], []]}, "{text: tweet, labels: emotions}"),
        (TEXT, {"no": SENTENCES, "class: of": SHORT}, '{text: "no", label: "class: of"}'),
        (TEXT, {"essay_text": SENTENCES, "a": [0, 1] * 3, "b": [0.0] * 6, "id": IDS}, "{text: essay_text, labels: [a, b]}"),
        (TEXT, {"body": SENTENCES, "a": [True, False] * 3, "on": ["False"] * 6}, '{text: body, labels: [a, "on"]}'),
        (TEXT, {"body": SENTENCES, "sentiment": ["0", "1"] * 3, "new": ["0"] * 6}, "{text: body, label: sentiment}"),
        (TEXT, {"Class Index": [1, 2, 3, 4, 1, 2], "Description": SENTENCES}, "{text: Description, label: Class Index}"),
        (TEXT, {"body": SENTENCES, "stars": [1.0, 5.0] * 3, "funny": [0, 1] * 3, "cool": [0] * 6}, "{text: body, label: stars}"),
        (TEXT, {"body": SENTENCES, "source": ["web"] * 6, "about": SHORT}, "{text: body, label: about}"),
        (TEXT, {"user": ["ann", "bo", "cy", "di", "ed", "flo"], "x": SENTENCES, "sentiment": SHORT}, "{text: x, label: sentiment}"),
        ("text-ranking", {"q": SENTENCES, "doc": SENTENCES[::-1], "score": [0, 1] * 3}, "{query: q, passage: doc}"),
        ("text-regression", {"essay": SENTENCES, "grade": ["1.5", "2", "4", "3", "5", "2.5"]}, "{text: essay, value: grade}"),
        (PAIRS, {"id": IDS, "premise": SENTENCES, "hypothesis": SENTENCES[::-1], "gold_label": SHORT},
         "{text_a: premise, text_b: hypothesis}"),
        (PAIRS, {"sentence1": SENTENCES, "sentence2": SENTENCES[::-1]}, "{text_a: sentence1, text_b: sentence2}"),
        (PAIRS, {"query": SENTENCES, "positive": SENTENCES[::-1]}, "{text_a: query, text_b: positive}"),
        (NER, TAGGED, "{tokens: words, tags: ner}"),
        (NER, {"body": SENTENCES, "spans": [[{"start": 0, "end": 2, "label": "X"}]]}, "{text: body, entities: spans}"),
        (QA, ANSWERED, "{question: q, context: passage, answers: gold}"),
    ],
)  # fmt: skip
def test_columns_are_guessed_from_names_and_values(kind, sample, expected):
    assert str(guess_columns(TASK_TYPES[kind].columns, sample)) == expected


@pytest.mark.parametrize(
    ("kind", "sample"),
    [
        (TEXT, {"sentence": SENTENCES}),
        (TEXT, {"id": IDS, "price": [1.5, 2.5, 3.0, 1.0, 9.9, 8.1]}),
        (NER, {"sentence": SENTENCES, "category": SHORT}),
        (QA, {"question": ["Who?"], "context": ["Ada."]}),
        (PAIRS, {}),
        ("text-ranking", {"query-id": ["q1", "q2"], "corpus-id": ["d1", "d2"], "score": [1, 0]}),
    ],
)
def test_nothing_is_guessed_where_a_column_is_missing(kind, sample):
    assert guess_columns(TASK_TYPES[kind].columns, sample) is None


ROWS = [{"sentence": text, "category": label, "text": "?"} for text, label in zip(SENTENCES, SHORT, strict=True)]


def table(separator: str) -> str:
    return "\n".join(separator.join(cells) for cells in [tuple(ROWS[0]), *(tuple(row.values()) for row in ROWS)]) + "\n"


CONTENT = {
    "a.csv": table(",").replace("back, sadly", "back sadly"),
    "a.tsv": table("\t"),
    "a.jsonl": jsonl(*ROWS),
    "a.json": json.dumps(ROWS),
    "a.ndjson.gz": jsonl(*ROWS),
}


@pytest.fixture
def path(request, write) -> Path:
    if request.param != "a.parquet":
        return write(request.param, CONTENT[request.param])
    parquet.write_table(pa.Table.from_pylist(ROWS), write("a.parquet", ""))
    return Path("a.parquet")


each = pytest.mark.parametrize("path", [*CONTENT, "a.parquet"], indirect=True)


@each
def test_columns_are_renamed_in_every_format(path):
    columns = {"text": "sentence", "label": "category"}
    rows = [row.values for row in open_files(Files((path,), columns=columns), TASK_TYPES[TEXT]).rows()]
    assert [row["text"].replace(",", "") for row in rows] == [text.replace(",", "") for text in SENTENCES]
    assert [row["label"] for row in rows] == SHORT
    assert all(set(row) == {"text", "label"} for row in rows)  # the column `text` of the file is not meant


@each
def test_missing_columns_are_refused_with_the_mapping_that_fits(path):
    assert refusal_of(path, PAIRS).endswith(
        "has the columns sentence, category, text; expected text_a, text_b: map them under 'columns', such as text_b: text"
    )
    with pytest.raises(
        DataError, match=r"has no column 'categori' \(for label\); did you mean 'category'\? its columns are"
    ):
        list(open_files(Files((path,), columns={"label": "categori"}), TASK_TYPES[TEXT]).rows())
    with pytest.raises(
        DataError, match=r"expected text, label or text, labels: write columns: \{text: sentence, label: category\}"
    ):
        list(open_files(Files((path,)), TASK_TYPES[TEXT]).rows())


def test_the_second_text_of_a_pair_is_proposed_too(write):
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    lines = [f"{i % 2}\t{i}\t{i + 90}\t{text}\t{SENTENCES[-i]}\n" for i, text in enumerate(SENTENCES)]
    told = 'write columns: {text: "#1 String", label: Quality, text_pair: "#2 String"}'
    for name in ("a.tsv", "a.txt", "SMSSpamCollection"):
        assert refusal_of(write(name, header + "".join(lines)), TEXT).endswith(told)
    told = "or give the numbers of the columns, such as columns: {text: 4, label: 1, text_pair: 5}"
    assert refusal_of(write("b.tsv", "".join(lines)), TEXT).endswith(told)
    rows = [{"premise": text, "hypothesis": text[::-1], "label": "x"} for text in SENTENCES]
    assert refusal_of(write("a.jsonl", jsonl(*rows)), TEXT).endswith("write columns: {text: premise, text_pair: hypothesis}")


def test_the_mapping_is_part_of_what_a_table_is_cached_under(write, tmp_path):
    path = write("a.jsonl", jsonl(*({"a": text, "b": text + "!", "label": "x"} for text in SENTENCES)))
    tables = [build_table(TASK_TYPES[TEXT](name="t"), Files((path,), columns={"text": name}), "train", cache=tmp_path)[0]
              for name in "ab"]  # fmt: skip
    assert [table[0].text for table in tables] == [SENTENCES[0], SENTENCES[0] + "!"]


def test_a_row_without_a_renamed_column_and_an_optional_one_that_no_row_has_are_refused(write):
    path = write("a.jsonl", jsonl({"s": "a", "label": "x"}, {"label": "x"}))
    with pytest.raises(DataError, match=r"a.jsonl:2: has no column 's' \(for text\)"):
        list(sound(open_files(Files((path,), columns={"text": "s"}), TASK_TYPES[TEXT]).rows()))
    path = write("a.jsonl", jsonl({"s": "a", "label": "x"}))
    with pytest.raises(DataError, match=r"a.jsonl: no row has 'other' \(for text_pair\); correct it under 'columns'"):
        list(open_files(Files((path,), columns={"text": "s", "text_pair": "other"}), TASK_TYPES[TEXT]).rows())


def test_formats_with_fixed_names_have_no_columns(write):
    for name, content in (("a.txt", "7|t|A title\n"), ("a.xml", "<collection></collection>")):
        with pytest.raises(
            DataError, match="whose parts have fixed names; 'columns' is for class-numbers, conll, conllu, csv"
        ):
            open_files(Files((write(name, content),), columns={"text": "x"}), TASK_TYPES[NER])


def test_numbered_tags_under_other_names(write):
    path = write("a.jsonl", jsonl({"words": ["Ada", "wrote"], "ner": [1, 0]}))
    columns = {"tokens": "words", "tags": "ner"}
    (row,) = open_files(Files((path,), names=("O", "B-PER"), columns=columns), TASK_TYPES[NER]).rows()
    assert row.values == {"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}


def test_a_file_without_a_header_is_told_so(write):
    assert "should be a header" in refusal_of(
        write("a.csv", "It is a rather long sentence and no name at all,3\n"), TEXT
    )


def test_the_hubs_name_of_tags_is_known(write):
    rows = [{"id": "0", "tokens": ["Ada", "wrote"], "ner_tags": ["B-PER", "O"]}]
    parquet.write_table(pa.Table.from_pylist(rows), write("a.parquet", ""))
    for path in (Path("a.parquet"), write("a.jsonl", jsonl(*rows)), write("b.json", json.dumps(rows))):
        (row,) = open_files(Files((path,)), TASK_TYPES[NER]).rows()
        assert row.values == {"id": "0", "tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}
    assert "columns: {tags: ner_tags}" in refusal_of(Path("a.jsonl"), "token-tagging")


def test_another_separator_is_named(write):
    assert refusal_of(write("a.tsv", "text;label\na;A\n"), TEXT) == (
        "a.tsv:1 has one column, with cells separated by ';'; cells are separated by commas in .csv, and by tabs in .tsv; "
        "give the name that fits, or name the format: csv, tsv"
    )


def test_a_bad_value_is_told_with_our_column_and_theirs(write):
    path = write("a.csv", "body,queue\nIt broke.,returns\nIt works.,\n")
    columns = {"text": "body", "label": "queue"}
    with pytest.raises(DataError, match=r"^a.csv:3: 'label' \(column 'queue'\) is empty; give one, or delete the row$"):
        build_table(TASK_TYPES[TEXT](name="queue"), Files((path,), columns=columns), "train")


def test_where_a_name_says_nothing_other_columns_that_could_be_the_label_are_told():
    sample = {"message": SENTENCES, "handled_by": ["Ann", "Bo"] * 3, "squad": SHORT, "no": [str(one) for one in IDS]}
    guess = guess_all_columns(("text", "label"), (), sample)
    assert guess is not None
    assert {guess.columns["label"], *guess.rivals} == {"handled_by", "squad"}
    named = guess_all_columns(("text", "label"), (), {**sample, "queue": SHORT})
    assert named is not None
    assert (named.columns["label"], named.rivals) == ("queue", ())
