"""Rows of one document as one example: what is joined, what is counted, and where problems are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datafiles import jsonl
from manyheads.data.build import build_table
from manyheads.data.cache import table_key
from manyheads.data.readers import Files
from manyheads.data.validate import examine, measure
from manyheads.data.warnings import Loaded
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES

KIND, SETTINGS = "text-classification", {"unit": "sentence"}


@pytest.fixture
def task() -> Any:
    return TASK_TYPES.class_of(KIND, SETTINGS)(name="section", **SETTINGS)


def refusal(task: Any, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        build_table(task, Files((path,)), "train")
    return str(caught.value)


def test_consecutive_rows_of_a_document_are_one_example(write: Any, task: Any) -> None:
    path = write("a.csv", "text,label,document\nOne.,A,1\nTwo.,B,1\nThree.,A,2\nFour.,A,1\n")
    table, report = build_table(task, Files((path,)), "train")
    assert [(example.text, example.labels) for example in table] == [
        ("One. Two.", ("A", "B")), ("Three.", ("A",)), ("Four.", ("A",)),
    ]  # fmt: skip
    assert (report.rows, report.used) == (4, 3)
    assert report.statistics.labels == {"A": 3, "B": 1}
    assert [(table.where(i), table.lines(i)) for i in range(3)] == [("a.csv:2", 2), ("a.csv:4", 1), ("a.csv:5", 1)]
    assert table.clusters() == ["1", "2", "1"]


def test_rows_of_documents_and_of_their_sentences_may_be_mixed_and_rows_without_target_break_nothing(
    write: Any, task: Any
) -> None:
    rows = [
        {"text": "One.", "id": 1, "targets": {"section": "A"}},
        {"text": "Else.", "id": 1, "targets": {"other": "A"}},
        {"text": "Two.", "id": 1, "targets": {"section": "B"}},
        {"sentences": ["Three.", "Four."], "labels": ["A", "B"], "document": 1},
        {"text": "Five.", "label": "A", "document": 1},
    ]
    table, report = build_table(task, Files((write("a.jsonl", jsonl(*rows)),)), "train")
    assert [example.text for example in table] == ["One. Two.", "Three. Four.", "Five."]
    assert (report.rows, report.used) == (5, 3)
    assert report.skipped["no target 'section'"].where == "a.jsonl:2"
    assert table.lines(0) == 1, "its rows do not follow one another"


def test_a_problem_of_a_sentence_has_the_line_of_the_sentence(write: Any, task: Any) -> None:
    text = "text,label,document\nOne.,A,1\nTwo.,,1\nThree.,B,\n"
    lines = refusal(task, write("a.csv", text)).splitlines()
    assert lines[0].startswith("a.csv:3: 'label' is empty; give one, or delete the row")
    assert lines[1].startswith("a.csv:4: has no 'document', which says what sentences are read together")
    good = write("b.csv", "text,label,document\nOne.,A,1\nTwo.,B,1\nThree.,C,1\n")
    table = build_table(task, Files((good,)), "train")[0].with_task(TASK_TYPES.class_of(KIND, SETTINGS)(
        name="section", labels=("A", "B"), **SETTINGS))  # fmt: skip
    with pytest.raises(DataError, match=r"^b.csv:4: label 'C' is not among"):
        table.check()


def test_reading_ends_after_twenty_problems(write: Any, task: Any) -> None:
    text = "text,label,document\n" + "One.,A,\n" * 30
    lines = refusal(task, write("a.csv", text)).splitlines()
    assert len(lines) == 21
    assert "reading stopped after 20" in lines[-1]


def test_a_table_without_documents_is_refused_with_the_columns_that_are_needed(write: Any, task: Any) -> None:
    assert "expected text, label, document" in refusal(task, write("a.csv", "text,label\nOne.,A\n"))


def test_tables_of_single_texts_and_of_documents_are_not_confused(task: Any) -> None:
    assert table_key(task, "x") != table_key(TASK_TYPES[KIND](name="section"), "x")


def test_validation_counts_documents_and_sentences_and_warns_of_single_ones(write: Any, task: Any) -> None:
    path = write("a.csv", "text,label,document\n" + "".join(f"One.,A,{k}\nTwo.,B,{k}\n" for k in range(60)) + "Alone.,A,z\n")
    table, report = build_table(task, Files((path,)), "train")
    fitted = table.with_task(task.fit(report.statistics))
    [split] = examine({"train": Loaded(fitted, report)}, {"train": measure(table, lambda sources: [[9]] * len(sources))})
    lines = split.lines()
    assert any(line.split() == ["used", "61", "documents", "with", "121", "sentences"] for line in lines)
    assert any("1 documents have a single sentence, the first at a.csv:122: 'Alone.'; there is nothing" in line for line in lines)
