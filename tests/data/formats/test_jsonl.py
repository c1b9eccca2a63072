"""JSON lines good and broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from datafiles import TEXT, errors_of, refusal_of, rows_of
from manyheads.data.formats.rows import RawRow


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz"])
def test_json_lines_are_read(write, name):
    path = write(name, '\ufeff{"text": "naïve 😀", "label": "A"}\n\n{"text": "b", "targets": {"x": [1]}}')
    assert rows_of(path, TEXT) == [
        RawRow({"text": "naïve 😀", "label": "A"}, f"{path}:1"),
        RawRow({"text": "b", "targets": {"x": [1]}}, f"{path}:3"),
    ]


def test_broken_json_lines_are_refused(write):
    assert refusal_of(write("a.jsonl", '{"text": "a", "label": "A"}\n{"text": "b" "label": 1}\n'), TEXT) == (
        "a.jsonl:2 is not valid JSON: Expecting ',' delimiter at column 14; write one JSON object on each line"
    )
    assert refusal_of(write("b.jsonl", '{"text": "a", "label": "A"}\n["b"]\n'), TEXT) == (
        "b.jsonl:2 holds a list, not a JSON object; write one {...} with its keys on each line"
    )
    assert refusal_of(write("d.jsonl", "[" * 200_000), TEXT).startswith("d.jsonl:1 is not valid JSON: ")


def test_an_array_in_a_file_of_lines_is_told_by_its_first_line(write):
    assert refusal_of(write("c.jsonl", '[\n{"text": "a"}\n]\n'), TEXT) == (
        "c.jsonl:1 is not valid JSON: Expecting value at column 2; the file looks like one JSON array: name it .json, "
        "or write one JSON object on each line"
    )


def test_all_broken_lines_of_a_file_are_told_at_once_with_the_rows_that_the_task_refuses(write):
    good = '{"text": "a", "label": "A"}\n'
    content = good + '{"text": "b", "label": "B"\n' + good + '{"text": "", "label": "B"}\n\n' + "7\n" + good + '{"text" "c"}\n'
    for name in ("a.jsonl", "a.json", "a.jsonl.gz"):
        assert [line.split(";")[0] for line in errors_of(write(name, content), TEXT)] == [
            f"{name}:2 is not valid JSON: Expecting ',' delimiter at column 27",
            f"{name}:4: has an empty 'text'",
            f"{name}:6 holds a number, not a JSON object",
            f"{name}:8 is not valid JSON: Expecting ':' delimiter at column 9",
        ]
    found = errors_of(write("b.jsonl", good + '{"text": "b",\n' * 50), TEXT)
    assert len(found) == 21
    assert found[-1] == "there are more; reading stopped after 20"


def test_a_broken_first_line_does_not_hide_the_others(write):
    content = '{"text": "b" "label": 1}\n{"text": "a", "label": "A"}\n[1]\n'
    assert [line.split(" ")[0] for line in errors_of(write("a.jsonl", content), TEXT)] == ["a.jsonl:1", "a.jsonl:3"]


def test_a_file_that_holds_no_json_lines_is_told_once(write):
    assert len(errors_of(write("a.jsonl", "text,label\n" + "a,A\n" * 30), TEXT)) == 1
    assert len(errors_of(write("b.jsonl", '{\n  "text": "a",\n  "label": "A"\n}\n' * 9), TEXT)) == 1


def test_every_row_without_a_renamed_key_is_told_but_a_name_that_no_row_has_once(write):
    rows = '{"s": "a", "label": "A"}\n{"label": "A"}\n{"s": "b", "label": "B"}\n{"t": "c", "label": "B"}\n'
    found = errors_of(write("a.jsonl", rows), TEXT, columns={"text": "s"})
    assert found[0] == "a.jsonl:2: has no column 's' (for text); its columns are label"
    assert [line.split(" ")[0] for line in found] == ["a.jsonl:2:", "a.jsonl:4:"]
    assert len(errors_of(Path("a.jsonl"), TEXT, columns={"text": "sentence"})) == 1


def test_items_of_an_array_that_are_no_objects_are_all_told(write):
    rows = '[{"text": "a", "label": "A"},\n7,\n{"text": "b", "label": "A"},\n"x"]'
    assert [line.split(" ")[0] for line in errors_of(write("a.json", rows), TEXT)] == ["a.json:2", "a.json:4"]
    rows = '{"data": [{"text": "a", "label": "A"}, 7, {"text": "b", "label": "A"}, []]}'
    assert [line.split(" holds")[0] for line in errors_of(write("b.json", rows), TEXT)] == ["b.json: item 2", "b.json: item 4"]
