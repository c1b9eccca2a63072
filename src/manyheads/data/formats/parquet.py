"""Parquet files, a thousand rows at a time. A gzipped one is unpacked into memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.lines import blocks, is_packed, opened
from manyheads.data.formats.rows import RawRow, normalised, wanted_columns
from manyheads.errors import DataError


def read(path: Path, kind: str) -> Iterator[RawRow]:
    """Rows. Raises DataError for columns that are wanting, and for a file that is damaged or of another format."""
    import pyarrow as pa
    from pyarrow import parquet

    packed = is_packed(path)
    with opened(path) as stored:
        try:
            source = parquet.ParquetFile(pa.BufferReader(b"".join(blocks(path))) if packed else stored)
            names = source.schema_arrow.names
            wanted = wanted_columns(names, kind)
            if wanted and "targets" not in names:
                raise DataError(f"{path} has the columns {', '.join(names)}; expected {wanted}")
            number = 0
            for batch in source.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(normalised(values, kind), f"{path}: row {number}")
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} is no readable parquet file: {str(error).splitlines()[0]}; write it again"
            ) from None
