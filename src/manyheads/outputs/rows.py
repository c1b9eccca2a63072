"""Rows as files of rows: jsonl, json, csv, tsv and Parquet, with all their columns.

Decided here:
- Columns are those of all rows, in the order of their first appearance, so tables are read twice.
- csv and tsv hold one value per cell. Lists of labels are joined by `|`; other lists and objects are refused.
- tsv has no quoting, as in reading: tabs and line ends become spaces, which is counted.
- Numbers of a csv stay as they are written, strings.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from manyheads.errors import DataError
from manyheads.outputs.cells import cell_line
from manyheads.outputs.formats.format import array, line
from manyheads.outputs.losses import Losses
from manyheads.outputs.passthrough import as_json_columns

Row = tuple[str, dict[str, Any]]
"""Place and values."""
Rows = Callable[[], Iterable[Row]]
"""Can be read repeatedly."""
BATCH_ROWS = 2048


def encode_rows(name: str, rows: Rows, losses: Losses) -> Iterator[bytes]:
    """The rows in a format of rows, in blocks of bytes. Raises DataError for a value that the format cannot hold."""
    if name in ("csv", "tsv"):
        return _cells(rows, losses, tabs=name == "tsv")
    if name == "parquet":
        return _parquet(rows)
    values = (as_json_columns(row) for _, row in rows())
    return array(values) if name == "json" else map(line, values)


def _cells(rows: Rows, losses: Losses, *, tabs: bool) -> Iterator[bytes]:
    columns = list(dict.fromkeys(name for _, row in rows() for name in row))
    if not columns:
        return
    yield cell_line(columns, tabs=tabs)[0]
    for where, row in rows():
        cells = [_cell(row.get(name), name, where, "tsv" if tabs else "csv") for name in columns]
        if tabs and not any(cells):
            losses.add("rows without any value not written", where)
            continue
        content, changed = cell_line(cells, tabs=tabs)
        losses.add("cells with tabs or line ends replaced by spaces", where, changed)
        yield content


def _cell(value: Any, name: str, where: str, form: str) -> str:
    if name == "labels" and isinstance(value, list | tuple):
        texts = [str(label) for label in value]
        plain = not any("|" in text or text != text.strip() or text[:1] == "[" for text in texts)
        return "|".join(texts) if plain else json.dumps(texts, ensure_ascii=False)
    if isinstance(value, list | tuple | Mapping):
        raise DataError(f"{where} has a {type(value).__name__} in the column '{name[:80]}', which {form} cannot hold; write "
                        "jsonl, json or parquet")  # fmt: skip
    ((_, plain_value),) = as_json_columns({name: value}).items()
    if plain_value is None:
        return ""
    return plain_value if isinstance(plain_value, str) else json.dumps(plain_value)


def _parquet(rows: Rows) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = None
    for batch in _batches(rows()):
        found = _table(pa, batch, None).schema
        try:
            schema = found if schema is None else pa.unify_schemas([schema, found], promote_options="permissive")
        except pa.ArrowException as error:
            raise _mixed(batch, error) from None
    if schema is None:
        return
    sink = _Sink()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in _batches(rows()):
            writer.write_table(_table(pa, batch, schema))
            yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()
        self._taken = 0

    def writable(self) -> bool:
        """True; Arrow asks."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self._taken + len(self._held)

    def write(self, data: Any, /) -> int:
        """Hold bytes."""
        self._held += data
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        found = bytes(self._held)
        self._taken += len(found)
        self._held.clear()
        return found


def _table(pa: Any, batch: list[Row], schema: Any) -> Any:
    try:
        if schema is not None:
            return pa.Table.from_pylist([row for _, row in batch], schema)
        names = dict.fromkeys(name for _, row in batch for name in row)
        return pa.table({name: pa.array([row.get(name) for _, row in batch]) for name in names})
    except (pa.ArrowException, OverflowError) as error:
        raise _mixed(batch, error) from None


def _mixed(batch: list[Row], error: Exception) -> DataError:
    message = str(error).splitlines()[0][:200]
    return DataError(f"{batch[0][0]}: a column of this row and the {len(batch) - 1} after it holds values of several types, "
                     f"which parquet cannot hold ({message}); write jsonl")  # fmt: skip


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while batch := list(islice(left, BATCH_ROWS)):
        yield batch
