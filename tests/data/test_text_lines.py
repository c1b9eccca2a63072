"""Plain texts, one a line: every line is a text or an error under its number, and other formats are not taken for texts."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.data.requests import read_requests
from manyheads.data.text_lines import SniffedStream
from manyheads.errors import DataError, RowError


def told(data: bytes) -> list[object]:
    return [(row.row_id, str(row)) if isinstance(row, RowError) else row for row in read_requests(io.BytesIO(data))]


def test_lines_are_texts_under_their_numbers() -> None:
    data = '\ufeffOne cough.\r\n\n  Two, with text in it.\n[1] A note.\n"Three," she said.'.encode()
    expected = [{"id": 1, "text": "One cough."}, {"id": 3, "text": "  Two, with text in it."}, {"id": 4, "text": "[1] A note."},
                {"id": 5, "text": '"Three," she said.'}]  # fmt: skip
    assert told(data) == expected


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0")), max_size=8))
def test_no_line_is_lost_or_changed(texts: list[str]) -> None:
    texts = ["A first line.", *texts]
    rows = told("\n".join(texts).encode())
    kept = {i: text for i, text in enumerate(texts, 1) if text.encode().strip() and not text.startswith('{"')}
    assert {row["id"]: row["text"] for row in rows if isinstance(row, dict)} == kept


def test_a_bad_line_is_told_in_its_place() -> None:
    good, not_utf8, rows = told(b'Good.\ncaf\xe9\n{"text": "a row"}\n')
    assert good == {"id": 1, "text": "Good."}
    assert not_utf8 == (2, "line 2 is not UTF-8 (byte 4)")
    assert rows == (3, "line 3 is a JSON object among plain texts; use one form for all lines")


@pytest.mark.parametrize("first", ['{"text": "a"}', "{'text': 'a'}", '  {"text": "a"}', '["a"]', "[]", "\n\n{}"])
def test_what_begins_as_json_is_read_as_json(first: str) -> None:
    stream = SniffedStream(io.BytesIO(first.encode() + b"\nplain\n"))
    assert not stream.plain
    assert "is not valid JSON" in str(list(read_requests(stream))[-1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"id,text,label\n1,a,b\n",
            r"begins with the header of a table \(id,text,label\); save it in a file that ends in",
        ),
        (b"text\nA cough.\n", "header of a table"),
        (b'"id"\t"text"\n', "header of a table"),
        (b"PAR1\x15\x04", "holds Parquet, not lines of text"),
        (gzip.compress(b"A cough.\n", mtime=0), "holds gzip, not"),
        ("A cough.".encode("utf-16"), "holds UTF-16, not"),
        (b'[\n{"text": "a"}]', r"begins with a JSON array; save it in a file that ends in \.json"),
        (b'[{"text": "a"}]', "begins with a JSON array"),
        (b"a\0b\n", "holds bytes that are not text"),
    ],
)
def test_other_formats_are_refused_and_not_answered_line_by_line(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        told(data)


def test_nothing_is_no_rows() -> None:
    assert told(b"") == told(b"\n\n") == []


def test_a_long_first_line_is_whole_or_told() -> None:
    [row] = told(b"word " * 500_000)
    assert row["text"] == "word " * 500_000
    too_long, next_one = told(b"word " * 1_000_000 + b"\nA cough.\n")
    assert too_long == (1, "line 1 is longer than 4 MB; cut its text into parts")
    assert next_one == {"id": 2, "text": "A cough."}


def test_files_of_texts_are_read_and_one_of_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One cough.\nTwo.\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"One cough.\nTwo.\n", mtime=0))
    expected = [{"id": 1, "text": "One cough."}, {"id": 2, "text": "Two."}]
    assert list(read_requests(tmp_path / "a.txt")) == list(read_requests(tmp_path / "b.txt.gz")) == expected
    (tmp_path / "c.txt").write_text(json.dumps({"text": "a"}) + "\n")
    with pytest.raises(DataError, match=r"c\.txt holds JSON, .*; rename it to end in \.jsonl"):
        list(read_requests(tmp_path / "c.txt"))
    (tmp_path / "d.txt").write_text("")
    assert list(read_requests(tmp_path / "d.txt")) == []
