"""Parquet files, packed and not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from datafiles import TEXT, refusal_of, rows_of
from manyheads.data.formats.rows import RawRow


@pytest.mark.parametrize("packed", [False, True])
def test_parquet_is_read(write, packed):
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"text": ["a", "ü"] * 1500, "labels": [["X"], []] * 1500}), sink)
    path = write("a.parquet.gz" if packed else "a.parquet", sink.getvalue().to_pybytes())
    rows = rows_of(path, TEXT)
    assert len(rows) == 3000
    assert rows[2999] == RawRow({"text": "ü", "labels": []}, f"{path}: row 3000")


def test_broken_parquet_is_refused(write):
    assert refusal_of(write("a.parquet", "no parquet at all"), TEXT).startswith(
        "a.parquet is not a readable parquet file: "
    )
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"sentence": ["a"], "label": ["X"]}), sink)
    assert refusal_of(write("b.parquet", sink.getvalue().to_pybytes()), TEXT) == (
        "b.parquet has the columns sentence, label; expected text, label or text, labels: write columns: {text: sentence}"
    )


def repeated(length, count):
    """A small file with one long text in every row."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["x" * length]))
    table = pa.table({"text": texts, "label": ["A", "B"] * (count // 2)})
    parquet.write_table(table, "a.parquet", compression="zstd", dictionary_pagesize_limit=1 << 30, store_schema=False)
    return Path("a.parquet")


@pytest.mark.long
def test_texts_that_a_small_file_repeats_are_not_written_out(write, tmp_path):
    assert len(rows_of(repeated(100, 2000), TEXT)) == 2000
    assert refusal_of(repeated(200_000, 1000), TEXT) == (
        "a.parquet has texts of more than 100 times its size, which real data never does; if the file is valid, "
        "write it without compression"
    )
    assert refusal_of(repeated(5_000_000, 2), TEXT) == "a.parquet has a text longer than 4 MB; cut it into parts"
    assert refusal_of(repeated(100_000_000, 2), TEXT).startswith(
        "a.parquet has a column 'text' that unpacks to more than 100 "
    )


@pytest.mark.long
def test_long_texts_come_in_small_parts_and_in_order(write, tmp_path):
    texts = [chr(97 + i) * 3_000_000 for i in range(26)]
    parquet.write_table(pa.table({"text": texts, "label": list("AB") * 13}), "a.parquet", compression="none")
    assert [row.values["text"][0] for row in rows_of(Path("a.parquet"), TEXT)] == [text[0] for text in texts]


def test_rows_that_do_not_fit_the_size_are_refused(write, tmp_path):
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int8()), pa.array([""]))
    parquet.write_table(pa.table({"text": one, "label": one}), "a.parquet", compression="zstd")
    assert "has 1,000,000 rows in" in refusal_of(Path("a.parquet"), TEXT)
