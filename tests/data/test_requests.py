"""Rows to answer: what is bad is told in its place, what is endless or a bomb is not read to its end."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from manyheads.data import requests
from manyheads.data.requests import read_requests
from manyheads.errors import DataError, RowError

GOOD = {"id": 1, "text": "a fever"}


def rows_of(path: Path) -> list[object]:
    return [str(row) if isinstance(row, RowError) else row for row in read_requests(path)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": NaN}', "line 1 is not JSON that can be read: NaN is no number"),
        (b'{"id": 1e999}', "line 1 is not JSON that can be read: 1e999 is too large a number"),
        (b'{"id": ' + b"9" * 5000 + b"}", "line 1 is not JSON that can be read: a number has 5,000 digits"),
        (b"[" * 100_000, "line 1 has lists or objects nested in more than 50 levels"),
        (b'{"id": ' + b"[" * 60 + b"]" * 60 + b"}", "line 1 has lists or objects nested in more than 50 levels"),
        (b'{"text": "a\\ud800"}', "line 1 holds half of a surrogate pair"),
        (b'{"text": "\xff"}', "line 1 is not UTF-8 (byte 11)"),
        (
            b'{"text": "' + b"x" * requests.LONGEST_ROW_BYTES + b'"}',
            "line 1 is longer than 4 MB; cut its text into parts",
        ),
    ],
)
def test_a_bad_row_is_told_in_its_place_and_its_neighbours_are_read(write, line, message):
    path = write("a.jsonl", line + b"\n" + json.dumps(GOOD).encode())
    bad, good = rows_of(path)
    assert str(bad).startswith(message)
    assert len(str(bad)) < 300
    assert good == GOOD
    assert [str(row) if isinstance(row, RowError) else row for row in read_requests(io.BytesIO(path.read_bytes()))] == [
        bad,
        good,
    ]


def test_rows_with_many_brackets_and_whole_characters_are_good(write):
    row = {"tokens": ["["] * 100, "id": {"a": [[1.5], "\U0001f600"]}}
    assert rows_of(write("a.jsonl", json.dumps(row))) == [row]  # the emoji is written as two halves


def test_a_bomb_is_told_of_before_its_first_row(write):
    path = write("a.jsonl.gz", b'{"text": "a"}\n' * 500_000)
    with pytest.raises(DataError, match=r"a\.jsonl\.gz unpacks to more than 100 times its size"):
        next(iter(read_requests(path)))


def test_what_repeats_a_little_is_no_bomb(write):
    rows = [{"text": f"the patient {i} had a fever", "id": i} for i in range(20_000)]
    assert rows_of(write("a.jsonl.gz", "".join(json.dumps(row) + "\n" for row in rows))) == rows


def test_damaged_archives_and_cells_without_end_are_data_errors(write):
    whole = gzip.compress(json.dumps(GOOD).encode() * 1000)
    path = write("a.jsonl", whole[:-20]).rename("a.jsonl.gz")
    with pytest.raises(DataError, match="is a damaged or cut-off gzip file"):
        rows_of(path)
    with pytest.raises(DataError, match=r"b\.csv:2: a cell cannot be read \(field larger than field limit"):
        rows_of(write("b.csv", b'text\n"' + b"x\n" * 3_000_000))
    with pytest.raises(DataError, match=r"c\.csv:2 is longer than 4 MB"):
        rows_of(write("c.csv", b"text\n" + b"x" * 5_000_000))


def test_pipes_and_missing_files_are_told_of_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="is a pipe or a device"):
        read_requests(tmp_path / "a.jsonl")
    for name in ("b.jsonl", "b.csv", "b.parquet"):
        with pytest.raises(DataError, match="does not exist"):
            read_requests(tmp_path / name)


def test_csv_and_parquet_rows_are_read(write):
    assert rows_of(write("a.csv", "id,text,question\r\n1,\"a\nb\",\r\n2,c,d?\r\n3,e\r\n")) == [
        {"id": "1", "text": "a\nb"}, {"id": "2", "text": "c", "question": "d?"}, "line 5 has not as many columns as the header",
    ]  # fmt: skip
    parquet.write_table(pa.table({"text": ["a", None], "id": [1, 2]}), "a.parquet")
    assert rows_of(Path("a.parquet")) == [{"text": "a", "id": 1}, {"id": 2}]
