"""A label before each text: the questions of TREC, and other files if they are said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from datafiles import NER, TEXT, errors_of, refusal_of, rows_of
from manyheads.cli import main
from manyheads.data.build import build_table
from manyheads.data.readers import Files, open_files
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES

TREC = """DESC:manner How did serfdom develop in and then leave Russia ?
ENTY:cremat What films featured the character Popeye Doyle ?
DESC:manner How can I find a list of celebrities ' real names ?
HUM:ind Who killed Gandhi ?
"""
PLAIN = "".join(f"{word} the parcel came on day {i}\n" for i in range(10) for word in ("good", "bad"))


def labels_of(path: Path, form: str | None = None, **columns: str) -> list[str]:
    table, _ = build_table(TASK_TYPES[TEXT](name="t"), Files((path,), form, columns=columns), "train")
    return [example.labels[0] for example in table]


@pytest.mark.parametrize("name", ["train_5500.label", "a.txt", "TREC_10", "a.label.gz"])
def test_questions_of_trec_are_read_under_any_name(write, name):
    rows = rows_of(write(name, TREC), TEXT)
    assert [row.values["label"] for row in rows] == ["DESC", "ENTY", "DESC", "HUM"]
    assert rows[3].values["text"] == "Who killed Gandhi ?"
    assert rows[3].where == f"{name}:4"
    assert labels_of(Path(name), label="fine") == ["DESC:manner", "ENTY:cremat", "DESC:manner", "HUM:ind"]


def test_the_part_that_is_read_is_told_and_other_columns_are_refused(write):
    path = write("a.txt", TREC)
    (row, *_) = rows_of(path, TEXT)
    assert row.notes == ("the label is the part before the colon; both parts with columns: {label: fine}",)
    with pytest.raises(DataError, match=r"a.txt has no column 'fin' \(for label\); did you mean 'fine'\? its columns are text, coarse, fine"):
        list(open_files(Files((path,), columns={"label": "fin"}), TASK_TYPES[TEXT]).rows())
    assert "a.txt looks like a label before each text, which is a format for text-classification" in refusal_of(path, NER)


def test_all_lines_without_a_label_or_a_text_are_told(write):
    content = TREC + "How far is it ?\nHUM:ind\nHUM: Who ?\n\nNUM:dist How far is it ?\n"
    assert [line.split(";")[0] for line in errors_of(write("a.label", TREC * 10 + content), TEXT)] == [
        "a.label:45 should be LABEL:PART TEXT, seen 'How far is it ?'",
        "a.label:46 should be LABEL:PART TEXT, seen 'HUM:ind'",
        "a.label:47 should be LABEL:PART TEXT, seen 'HUM: Who ?'",
    ]


def test_plain_first_words_are_labels_only_if_the_data_source_says_so(write):
    path = write("a.txt", PLAIN)
    assert refusal_of(path, TEXT).endswith("each also as .gz; if each line is a label and its text, write format: label-lines")
    assert labels_of(path, "label-lines") == ["good", "bad"] * 10
    texts = "".join(f"{word} and more\n" for word in ["The", "old", "dog", "saw", "a", "cat", "and", "then", "it", "ran"])
    assert refusal_of(write("b.txt", texts), TEXT).endswith(".tsv, each also as .gz")
    (row, *_) = open_files(Files((path,), "label-lines"), TASK_TYPES[TEXT]).rows()
    assert row.values == {"text": "the parcel came on day 0", "label": "good"}


@pytest.mark.parametrize("content", ["", "A:b c\n", "DESC:a b\n" * 5, "Time: it is\nTime: it was\nPlace: here\n", "a:b c\na:b c\nd:e f\n"])
def test_other_texts_are_not_taken_for_them(write, content):
    assert "is read from" in refusal_of(write("a.txt", content), TEXT)


@pytest.mark.long
def test_init_writes_them(write):
    write("train.label", TREC * 5)
    assert main(["init", "train.label"]) == 0
    run = Path("run.yaml").read_text(encoding="utf-8")
    assert "type: text-classification" in run
    assert "train: train.label" in run
