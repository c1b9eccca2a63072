"""Parquet files, packed and not."""

from __future__ import annotations

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
        "a.parquet is no readable parquet file: "
    )
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"sentence": ["a"], "label": ["X"]}), sink)
    assert refusal_of(write("b.parquet", sink.getvalue().to_pybytes()), TEXT) == (
        "b.parquet has the columns sentence, label; expected text, label or text, labels"
    )
