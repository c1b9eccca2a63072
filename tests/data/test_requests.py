"""Rows to answer: what is bad is told in its place, what is endless or a bomb is not read to its end."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import os
from decimal import Decimal
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
        (b'{"id": NaN}', "line 1 is not valid JSON: NaN is not a number"),
        (b'{"id": 1e999}', "line 1 is not valid JSON: 1e999 is too large a number"),
        (b'{"id": ' + b"9" * 5000 + b"}", "line 1 is not valid JSON: a number has 5,000 digits"),
        (b"[" * 100_000, "line 1 has lists or objects nested in more than 50 levels"),
        (b'{"id": ' + b"[" * 60 + b"]" * 60 + b"}", "line 1 has lists or objects nested in more than 50 levels"),
        (b'{"text": "a\\ud800"}', "line 1 contains half of a surrogate pair"),
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
    with pytest.raises(DataError, match="is a damaged or truncated gzip file"):
        rows_of(path)
    with pytest.raises(
        DataError, match=r"b\.csv:2 has a cell that is longer than 4 MB, or a quote that is never closed"
    ):
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
        {"id": "1", "text": "a\nb"}, {"id": "2", "text": "c", "question": "d?"},
        "line 5 has 2 columns, but the header has 3",
    ]  # fmt: skip
    parquet.write_table(pa.table({"text": ["a", None], "id": [1, 2]}), "a.parquet")
    assert rows_of(Path("a.parquet")) == [{"text": "a", "id": 1}, {"id": 2}]


@pytest.mark.parametrize(
    ("header", "line", "row_id"),
    [
        ("id,text", "7", "7"),
        ("text,id,question", "a,7", "7"),
        ("text,question,id", "a,b", None),
        ("id,text", "7,a,b", "7"),
        ("text,id", "a,b,7", None),
        ("id,text", ",a,b", None),
    ],
)
def test_a_row_with_too_few_or_many_columns_keeps_the_id_that_can_be_told(write, header, line, row_id):
    [row] = read_requests(write("a.csv", f"{header}\n{line}\n"))
    assert isinstance(row, RowError)
    assert row.row_id == row_id


def test_a_json_row_that_holds_half_a_character_keeps_its_id(write):
    [row] = read_requests(write("a.jsonl", b'{"id": "b", "text": "\\ud800"}'))
    assert isinstance(row, RowError)
    assert row.row_id == "b"


def test_a_csv_row_that_is_not_utf8_is_told_in_its_place(write):
    path = write("a.csv", b'id,text\n1,"caf\xe9\nau lait"\n2,\xc3\xa9t\xc3\xa9\n\xff,c\n')
    bad, good, nameless = read_requests(path)
    assert (str(bad), bad.row_id) == ("line 2 is not UTF-8 (column 'text')", "1")
    assert good == {"id": "2", "text": "été"}
    assert (str(nameless), nameless.row_id) == ("line 5 is not UTF-8 (column 'id')", None)
    with pytest.raises(DataError, match=r"b\.csv:1 is not UTF-8: byte 0xff at column 1 \(it looks like UTF-16\)"):
        rows_of(write("b.csv", "id,text\n1,a\n".encode("utf-16")))


def test_two_columns_of_one_name_are_refused(write, tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:1 names the column 'text' twice; rename one of them"):
        rows_of(write("a.csv", "text,id,text\na,1,b\n"))
    assert rows_of(write("b.csv", "text,,\na,,\n")) == [{"text": "a"}], "columns without a name are nobody's"
    parquet.write_table(pa.table([["a"], ["b"]], ["text", "text"]), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c\.parquet: names the column 'text' twice"):
        rows_of(tmp_path / "c.parquet")


def test_ids_of_parquet_are_written_as_json_has_them(tmp_path):
    day = datetime.datetime(2026, 11, 22, 9, 30, tzinfo=datetime.UTC)
    for number, (value, kind, wanted) in enumerate([
        (day, pa.timestamp("us", "UTC"), "2026-11-22T09:30:00+00:00"),
        (1, pa.timestamp("ns"), "1970-01-01T00:00:00.000000001"),
        (day.date(), pa.date32(), "2026-11-22"),
        (datetime.time(9, 30), pa.time64("us"), "09:30:00"),
        (Decimal("1.50"), pa.decimal128(5, 2), "1.50"),
        ({"at": [day.date(), None]}, None, {"at": ["2026-11-22", None]}),
        (1.5, pa.float64(), 1.5),
    ]):  # fmt: skip
        path = tmp_path / f"{number}.parquet"
        parquet.write_table(pa.table({"text": ["a"], "id": pa.array([value], kind)}), path)
        [row] = read_requests(path)
        assert row == {"text": "a", "id": wanted}
        json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\xff", "row 1 has an 'id' that is of the type bytes, which JSON does not have; make it a string or a whole"),
        (float("nan"), "row 1 has an 'id' that is nan, which is not a number"),
        ([float("inf")], "row 1 has an 'id' that is inf, which is not a number"),
        (datetime.timedelta(1), "row 1 has an 'id' that is of the type timedelta"),
    ],
)
def test_an_id_of_parquet_that_json_does_not_have_is_its_rows_error(tmp_path, value, message):
    parquet.write_table(pa.table({"text": ["a", "b"], "id": [value, None]}), tmp_path / "a.parquet")
    bad, good = rows_of(tmp_path / "a.parquet")
    assert str(bad).startswith(message)
    assert good == {"text": "b"}


def test_a_quote_that_is_never_closed_is_an_error_with_its_line_and_swallows_nothing(write):
    path = write("a.csv", 'id,text\n0,No fever.\n1,"3 mm cuts were made.\n2,It healed.\n3,It closed.\n')
    rows = read_requests(path)
    assert next(rows) == {"id": "0", "text": "No fever."}
    with pytest.raises(DataError, match=r"a\.csv:3 has a cell whose quotes do not match"):
        next(rows)


def test_tsv_is_not_quoted_and_names_lose_their_white_space_as_in_training(write):
    assert rows_of(write("a.tsv", 'id\ttext\n1\t"3 mm cuts\n2\t"whole"\n')) == [
        {"id": "1", "text": '"3 mm cuts'}, {"id": "2", "text": '"whole"'}
    ]  # fmt: skip
    assert rows_of(write("b.csv", "id, text ,, \n 1, a fever,,\n")) == [{"id": "1", "text": " a fever"}]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_file_of_carriage_returns_alone_is_read(write, ending):
    separator = {"csv": ",", "tsv": "\t"}[ending]
    rows = "".join(f"{i}{separator}text {i}\r" for i in range(20_000))
    found = rows_of(write(f"a.{ending}", f"id{separator}text\r{rows}"))
    assert found == [{"id": str(i), "text": f"text {i}"} for i in range(20_000)]
    with pytest.raises(DataError, match=rf"b\.{ending}:2 has a carriage return in the middle of a line"):
        rows_of(write(f"b.{ending}", f"id{separator}text\n1{separator}a\rb\n"))


def test_an_array_of_rows_is_answered_row_by_row(write):
    path = write("a.json", '[\n{"text": "a", "id": 1},\n7,\n{"text": NaN},\n{"text": "b"}]\n')
    assert rows_of(path) == [
        {"text": "a", "id": 1},
        'line 3 must be an object such as {"text": "..."}, seen int',
        "line 4 is not valid JSON: NaN is not a number",
        {"text": "b"},
    ]
    assert rows_of(write("b.json.gz", '[{"text": "a"}, null]')) == [
        {"text": "a"},
        'item 2 must be an object such as {"text": "..."}, seen NoneType',
    ]
    assert rows_of(write("c.json", '{"text": "a"}\n{"text": "b"}\n')) == [{"text": "a"}, {"text": "b"}]


def test_an_object_with_rows_is_answered_row_by_row(write):
    assert rows_of(write("a.json", '{"version": 1, "rows": [{"text": "a"}, 7]}')) == [
        {"text": "a"},
        'item 2 must be an object such as {"text": "..."}, seen int',
    ]
    assert rows_of(write("b.json", '{"text": {"0": "a", "1": "b"}}')) == [{"text": "a"}, {"text": "b"}]
    assert rows_of(write("c.csv", "text;id\na, b;1\n")) == [{"text": "a, b", "id": "1"}]


def test_an_array_that_breaks_off_ends_the_reading(write):
    with pytest.raises(DataError, match=r"a\.json:2 needs a comma or \] after item 1, the file ends"):
        rows_of(write("a.json", '[\n{"text": "a"}'))
