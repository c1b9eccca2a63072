"""Rows to tables: what comes back, what is counted, what is refused, and how much memory it takes."""

from __future__ import annotations

import dataclasses
import os
import random
import time
from pathlib import Path

import pytest

from datafiles import jsonl, labelled
from manyheads.data.build import build_table
from manyheads.data.hub import Hub
from manyheads.data.readers import Files
from manyheads.data.report import Skipped
from manyheads.errors import DataError
from manyheads.tasks.base import DataStatistics


def refusal(task, *paths: Path) -> str:
    with pytest.raises(DataError) as caught:
        build_table(task, Files(paths), "train")
    return str(caught.value)


def test_examples_come_back_as_they_were_read(write, texts):
    one = write(
        "a.jsonl", jsonl({"text": "naïve 😀\u2028x", "label": "A"}, {"text": "b", "label": "B", "document": "d1"})
    )
    two = write("b.csv.gz", "text,label\nc,A\n")
    table, report = build_table(texts, Files((one, two)), "train")
    assert list(table) == [
        {"text": "naïve 😀\u2028x", "label": "A"},
        {"text": "b", "label": "B", "document": "d1"},
        {"text": "c", "label": "A"},
    ]
    assert [table.where(i) for i in range(3)] == ["a.jsonl:1", "a.jsonl:2", "b.csv.gz:2"]
    assert table.clusters() == ["", "d1", ""]
    assert table[-1] == table[2]
    assert (report.rows, report.used, dict(report.skipped)) == (3, 3, {})
    assert report.statistics == DataStatistics({"A": 2, "B": 1}, frozenset(["single"]))
    assert report.places == {"A": "a.jsonl:1", "B": "a.jsonl:2"}
    with pytest.raises(IndexError, match="example 3 of 3"):
        table[3]


def test_rows_without_a_target_for_the_task_are_counted_and_not_used(write, texts):
    path = write(
        "shared.jsonl",
        jsonl(
            {"text": "a", "targets": {"section": "A", "entities": []}},
            {"text": "b", "targets": {"entities": []}},
            {"text": "c", "targets": {"section": None}},
            {"text": "d", "label": "B"},
        ),
    )
    table, report = build_table(texts, Files((path,)), "train")
    assert list(table) == [{"text": "a", "label": "A"}, {"text": "d", "label": "B"}]
    assert (report.rows, report.used) == (4, 2)
    assert report.skipped == {"no target 'section'": Skipped(2, "shared.jsonl:2")}
    assert build_table(texts, Files((path,)), "train")[1] == report
    with pytest.raises(DataError) as caught:
        build_table(
            dataclasses.replace(texts, name="sections"), Files((write("x.jsonl", path.read_text()[:50]),)), "train"
        )
    assert "x.jsonl:1" in str(caught.value)


def test_targets_that_are_no_object_are_refused(write, texts):
    path = write("a.jsonl", jsonl({"text": "a", "label": "A", "targets": ["A"]}))
    assert refusal(texts, path) == "a.jsonl:1: 'targets' must be an object with a key for each task, seen ['A']"
    path = write("a.csv", "text,label,targets\na,A,none\n")
    assert build_table(texts, Files((path,)), "train")[1].used == 1


def test_a_file_with_no_row_for_the_task_is_refused(write, texts):
    path = write("a.jsonl", jsonl({"text": "a", "targets": {"other": "A"}}, {"text": "b", "targets": {}}))
    assert refusal(texts, path) == (
        "a.jsonl:1: none of 2 rows can be used for task 'section' (no target 'section': 2, the first at a.jsonl:1)"
    )


def test_bad_rows_are_told_together_with_their_places(write, texts):
    path = write(
        "a.jsonl", jsonl({"text": "", "label": "A"}, {"text": "b", "label": "B"}, {"text": "c"}) + "{nonsense\n"
    )
    assert refusal(texts, path).splitlines() == [
        "a.jsonl:1: has no 'text'",
        "a.jsonl:3: 'label' must be a string, seen None",
        "a.jsonl:4 is not valid JSON: Expecting property name enclosed in double quotes at column 2; "
        "write one JSON object on each line",
    ]


def test_rows_of_another_width_hide_no_other_mistake(write, texts):
    path = write("a.csv", "text,label\na,A\nb,B,C\n,A\nc\nd,\ne,B\n")
    width = "columns, the header has 2 (text, label); fill the row in, or quote a cell that holds a comma"
    assert refusal(texts, path).splitlines() == [
        f"a.csv:3 has 3 {width}",
        "a.csv:4: has no 'text'",
        f"a.csv:5 has 1 {width.replace('columns', 'column', 1)}",
        "a.csv:6: 'label' must be a string, seen ''",
    ]
    many = refusal(texts, write("b.csv", "text,label\n" + "a,A,B\n" * 1000)).splitlines()
    assert many[19].startswith("b.csv:21 has 3 columns")
    assert many[20:] == ["there are more; reading stopped after 20"]


def test_no_more_than_twenty_bad_rows_are_told(write, texts, cache):
    lines = refusal(texts, write("a.jsonl", '{"text": "a", "label": null}\n' * 1000)).splitlines()
    assert lines[19:] == [
        "a.jsonl:20: 'label' must be a string, seen None",
        "there are more; reading stopped after 20",
    ]
    assert not list(cache.iterdir())


def test_a_bad_tag_is_told_with_its_own_line(write, words):
    path = write("a.conll", "-DOCSTART- O\n\nEU B-ORG\nsays O\n\nHe O\nsaw O\nAnn PER\n")
    assert refusal(words, path) == "a.conll:8: tag 'PER' is none of IOB"


def test_half_a_surrogate_pair_is_refused(write, texts):
    assert refusal(texts, write("a.jsonl", '{"text": "a \\ud83d b", "label": "A"}\n')) == (
        "a.jsonl:1: contains \\ud83d, half of a surrogate pair, which is not a character; fix the text"
    )


def test_hub_data_goes_the_same_way(texts, monkeypatch):
    import datasets

    data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, -1, 1]})
    data = data.cast_column("label", datasets.ClassLabel(names=["A", "B"]))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    table, report = build_table(texts, Hub("set"), "test")
    assert [example["label"] for example in table] == ["A", "B"]
    assert report.skipped == {"no label (label is -1)": Skipped(1, "hf:set (test): row 2")}


def resident(key: str) -> int:
    """Bytes of memory that this process holds (VmRSS), or held at most since the mark was reset (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(key))


@pytest.mark.long
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's mark of memory held at most")
def test_a_large_file_takes_little_memory_and_random_access_is_fast(tmp_path, texts):
    path = tmp_path / "large.jsonl"
    text = "word " * 60
    with path.open("w") as stream:
        stream.writelines(f'{{"text": "{i} {text}", "label": "{"AB"[i % 2]}"}}\n' for i in range(200_000))
    assert path.stat().st_size > 65_000_000
    small = tmp_path / "small.jsonl"
    small.write_text(labelled(2))
    build_table(texts, Files((small,)), "train")  # whatever is imported on first use
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    table, report = build_table(texts, Files((path,)), "train")
    assert resident("VmHWM") - before < 40_000_000
    assert report.statistics.labels == {"A": 100_000, "B": 100_000}
    chosen = random.Random(0).sample(range(200_000), 5000)
    began = time.perf_counter()
    assert all(table[i]["text"].startswith(f"{i} ") for i in chosen)
    assert time.perf_counter() - began < 2
