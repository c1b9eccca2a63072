"""Parquet files, a thousand rows at a time. A gzipped one is unpacked into memory. Class numbers become class names.

A small file can hold more text than fits into memory: one long text repeated in every row, or pages that unpack to
gigabytes. So texts are read as dictionaries, each text once, and expanded only as far as LONGEST_LINE_BYTES and RATIO
allow; pages are checked by their sizes in the footer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from manyheads.data.column_guess import Sample, sample_of
from manyheads.data.formats.columns import column_names
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.lines import LONGEST_LINE_BYTES, RATIO, is_packed, opened, unpacked
from manyheads.data.formats.messages import first_line
from manyheads.data.formats.rows import RawRow, with_class_names
from manyheads.errors import DataError
from manyheads.text.values import classes_of_metadata

BATCH_ROWS = 1000
SMALL_BYTES = 64 << 20
"""What the texts of any file may come to, and what rows expanded together take."""
PACKED_BYTES = 512 << 20
"""What a gzipped file may unpack to: it is held in memory."""
ROWS_A_BYTE = 8
FEW_ROWS = 100_000


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows. Raises DataError for missing columns, and a file that is damaged or of another format."""
    with ParquetRows(path) as rows:
        names = column_names(schema, rows.names, str(path), lambda: _sample(path))
        classes = {ours: rows.classes[theirs] for ours, theirs in names.items() if theirs in rows.classes}
        for number, values in enumerate(rows, 1):
            where = f"{path}: row {number}"
            ours = {name: values[theirs] for name, theirs in names.items()}
            named, skip = with_class_names(ours, classes, where)
            yield RawRow(schema.normalised(named), where, skip=skip)


def _sample(path: Path) -> Sample:
    with ParquetRows(path) as rows:
        return sample_of(rows)


class ParquetRows:
    """The rows of a parquet file as mappings; a context manager. Raises DataError for a damaged file or a bomb."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = ExitStack()
        self._file: Any = None
        self._size = 0
        self._written = 0
        self.schema: Any = None
        """Arrow's schema."""
        self.names: list[str] = []
        self.count = 0
        """Rows, according to the footer."""
        self.classes: dict[str, list[str]] = {}
        """Class names by column, for columns that `datasets` wrote as numbers."""

    def __enter__(self) -> ParquetRows:
        import pyarrow as pa
        from pyarrow import parquet

        stored = self._held.enter_context(opened(self._path))
        try:
            packed = unpacked(self._path, stored).read(PACKED_BYTES + 1) if is_packed(self._path) else None
            if packed is not None and len(packed) > PACKED_BYTES:
                raise DataError(
                    f"{self._path} unpacks to more than {PACKED_BYTES >> 20} MB; unpack it, and give that file"
                )
            self._size = self._path.stat().st_size if packed is None else len(packed)
            source = stored if packed is None else pa.BufferReader(packed)
            whole = parquet.ParquetFile(source)
            self.schema = whole.schema_arrow
            self.names = self.schema.names
            self.classes = classes_of_metadata(self.schema.metadata)
            self._check_footer(whole.metadata)
            self.count = whole.metadata.num_rows
            texts = [field.name for field in whole.schema_arrow if _is_text(field.type)]
            source.seek(0)
            self._file = parquet.ParquetFile(source, read_dictionary=texts)
        except DataError:
            self._held.close()
            raise
        except (pa.ArrowException, OSError, EOFError, ValueError, MemoryError, OverflowError) as error:
            self._held.close()
            raise self._damaged(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        import pyarrow as pa

        try:
            for batch in self._file.iter_batches(batch_size=BATCH_ROWS):
                for part in self._parts(batch):
                    yield from part.to_pylist()
        except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
            raise self._damaged(error) from None

    def _check_footer(self, footer: Any) -> None:
        """Raise DataError for more rows, or larger pages, than a file of this size has."""
        count = sum(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
        if count != footer.num_rows or count < 0:
            raise DataError(
                f"{self._path} says it has {footer.num_rows:,} rows, but its parts have {count:,}; write it again"
            )
        if count > max(FEW_ROWS, ROWS_A_BYTE * self._size):
            raise self._bomb(f"has {count:,} rows in {self._size:,} bytes")
        for i in range(footer.num_row_groups):
            group = footer.row_group(i)
            for k in range(group.num_columns):
                column = group.column(k)
                if column.total_uncompressed_size > max(SMALL_BYTES, RATIO * column.total_compressed_size):
                    raise self._bomb(f"has a column {column.path_in_schema[:80]!r} that unpacks to more than {RATIO} times "
                                     "its size")  # fmt: skip

    def _parts(self, batch: Any) -> Iterator[Any]:
        """A batch in slices of limited size. Raises DataError if a text, or all texts together, are too long."""
        import pyarrow.compute as pc

        longest = 0
        for column in batch.columns:
            if not hasattr(column, "dictionary"):
                continue
            lengths = pc.binary_length(column.dictionary)
            longest = max(longest, pc.max(lengths).as_py() or 0)
            self._written += pc.sum(lengths.take(column.indices)).as_py() or 0
        if longest > LONGEST_LINE_BYTES:
            raise DataError(f"{self._path} has a text longer than {LONGEST_LINE_BYTES >> 20} MB; cut it into parts")
        if self._written > max(SMALL_BYTES, RATIO * self._size):
            raise self._bomb(f"has texts of more than {RATIO} times its size")
        step = max(1, SMALL_BYTES // max(1, longest))
        for start in range(0, len(batch), step):
            yield batch.slice(start, step)

    def _bomb(self, what: str) -> DataError:
        return DataError(
            f"{self._path} {what}, which real data never does; if the file is valid, write it without compression"
        )

    def _damaged(self, error: BaseException) -> DataError:
        return DataError(f"{self._path} is not a readable parquet file: {first_line(error)}; write it again")


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
