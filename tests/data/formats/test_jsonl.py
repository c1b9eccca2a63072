"""JSON lines good and broken."""

from __future__ import annotations

import pytest

from datafiles import TEXT, refusal_of, rows_of
from manyheads.data.formats.rows import RawRow


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz"])
def test_json_lines_are_read(write, name):
    path = write(name, '\ufeff{"text": "naïve 😀", "label": "A"}\n\n{"text": "b", "targets": {"x": [1]}}')
    assert rows_of(path, TEXT) == [
        RawRow({"text": "naïve 😀", "label": "A"}, f"{path}:1"),
        RawRow({"text": "b", "targets": {"x": [1]}}, f"{path}:3"),
    ]


def test_broken_json_lines_are_refused(write):
    assert refusal_of(write("a.jsonl", '{"text": "a"}\n{"text": "b" "label": 1}\n'), TEXT) == (
        "a.jsonl:2 is not valid JSON: Expecting ',' delimiter at column 14; write one JSON object on each line"
    )
    assert refusal_of(write("b.jsonl", '{"text": "a"}\n["b"]\n'), TEXT) == (
        "b.jsonl:2 holds a list, not a JSON object; write one {...} with its keys on each line"
    )
    assert refusal_of(write("d.jsonl", "[" * 200_000), TEXT).startswith("d.jsonl:1 is not valid JSON: ")


def test_an_array_in_a_file_of_lines_is_told_by_its_first_line(write):
    assert refusal_of(write("c.jsonl", '[\n{"text": "a"}\n]\n'), TEXT) == (
        "c.jsonl:1 is not valid JSON: Expecting value at column 2; the file looks like one JSON array: name it .json, "
        "or write one JSON object on each line"
    )
