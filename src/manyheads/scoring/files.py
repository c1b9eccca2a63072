"""Files to rows, in a few lines each: what is scored comes from any system, not only from training data."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyheads.errors import DataError, RowError
from manyheads.tasks.base import NESTED, Task
from manyheads.tasks.file_rows import FileRow
from manyheads.text.columns import Layout, bare_line, cells_of, is_comment, is_passed_over, layout_of
from manyheads.text.separated import CellError, Cells, Columns, rows_of_cells
from manyheads.text.values import classes_of_metadata, named

LONGEST_CELL = 2**31 - 1
"""Characters in a csv cell; the csv module refuses more than 131,072 unless told."""


def read(path: Path, cls: type[Task[Any]]) -> list[FileRow]:
    """All rows of a file; the format follows from the name, and from the columns of the type."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    formats: dict[str, Callable[[Path], Iterator[FileRow]]] = {
        ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json_lines, ".parquet": _parquet
    }  # fmt: skip
    if any("answers" in columns for columns in cls.columns):
        formats[".json"] = _squad
    if not cls.columns or any(NESTED.isdisjoint(columns) for columns in cls.columns):
        formats |= {".csv": _table, ".tsv": _table}
    if suffix in formats:
        return list(formats[suffix](path))
    if has_tags(cls) and suffix != ".csv":
        return list(_conll(path))
    also = "CoNLL columns (.conll, .txt, ...), " if has_tags(cls) else ""
    raise DataError(f"{path}: {cls.kind} is scored from {also}{', '.join(sorted(formats))}, each also as .gz")


def has_tags(cls: type[Task[Any]]) -> bool:
    """Whether rows of the type can be CoNLL columns: a word and its tag."""
    return any(set(columns) == {"tokens", "tags"} for columns in cls.columns)


def column_before(row: FileRow) -> FileRow:
    """Gold from the column before the last."""
    if not row.values["before"]:
        raise DataError(f"{row.where()} has 2 columns; a file that is both GOLD and PREDICTIONS needs three: the word, "
                        "the gold tag, and last the predicted tag")  # fmt: skip
    return replace(row, values={**row.values, "tags": row.values["before"]})


def _bytes(path: Path) -> bytes:
    """The file, unpacked. Raises DataError when it cannot be read."""
    try:
        stored = path.read_bytes()
        return gzip.decompress(stored) if path.name.lower().endswith(".gz") else stored
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; name a file") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged or cut-off gzip file ({error}); copy it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines with their endings; only a line feed ends one (in a file that has none, a carriage return)."""
    found = _bytes(path)
    end = b"\r" if b"\r" in found and b"\n" not in found else b"\n"
    for number, block in enumerate(found.split(end), 1):
        try:
            yield number, block.decode("utf-8-sig" if number == 1 else "utf-8") + "\n"
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise DataError(f"{path}:{number} is not UTF-8: byte 0x{byte:02x}; save the file as UTF-8") from None


def _conll(path: Path) -> Iterator[FileRow]:
    """Sentences of columns; `before` is the column before the last, empty where that is the word."""
    try:
        layout = layout_of(line for _, line in _lines(path)) or Layout(False, 1)
    except RowError as error:
        raise DataError(f"{path} {error}") from None
    first = 0
    cells: list[list[str]] = []
    for number, line in [*_lines(path), (0, "")]:
        text = bare_line(line)
        if not text or text.startswith("-DOCSTART-") or (not cells and is_comment(text, layout)):
            if cells:
                words, tags = [row[layout.word] for row in cells], [layout.tag_of(row) for row in cells]
                before = [row[-2] for row in cells] if layout.width > layout.word + 2 else []
                yield FileRow({"tokens": words, "tags": tags, "before": before}, str(path), first)
            cells = []
            continue
        parts = cells_of(text, layout)
        if len(parts) != layout.width or layout.width == 1:
            known = (
                f"the lines before it have {layout.width}; fix the line"
                if layout.width > 1
                else "a word and its tag are needed"
            )
            raise DataError(f"{path}:{number} has {len(parts)} column{'s' * (len(parts) != 1)}, {known}")
        if layout.counter and is_passed_over(parts[0]):
            continue
        first = number if not cells else first
        cells.append(parts)


def _json_lines(path: Path) -> Iterator[FileRow]:
    for number, line in _lines(path):
        if line.strip():
            values = _json(line.rstrip("\r\n"), path, number)
            if not isinstance(values, dict):
                raise DataError(f"{path}:{number} holds {values!r:.60}; write one JSON object on each line")
            yield FileRow(values, str(path), number)


def _json(text: str, path: Path, number: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{number + error.lineno - 1}"
        raise DataError(f"{place} is not valid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number} is not JSON that can be read: {error}") from None


def _squad(path: Path) -> Iterator[FileRow]:
    """Questions of SQuAD, answers `{id: answer}`, a list of rows; or JSON lines."""
    text = "".join(line for _, line in _lines(path))
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return (yield from _json_lines(path))
        whole = _json(text, path, 1)
    if isinstance(whole, dict) and isinstance(whole.get("data"), list):
        yield from _questions(path, whole["data"])
    elif isinstance(whole, list) and all(isinstance(values, dict) for values in whole):
        yield from (FileRow(values, f"{path}: row {number}") for number, values in enumerate(whole, 1))
    elif isinstance(whole, dict) and {"tasks", "answers", "answer"} & set(whole):
        yield FileRow(whole, str(path), 1)
    elif isinstance(whole, dict):
        yield from (FileRow({"id": name, "answer": answer}, f"{path}: id '{name}'") for name, answer in whole.items())
    else:
        raise DataError(f"{path} holds {whole!r:.60}; expected SQuAD's {{data: [...]}} or {{id: answer}}")


def _questions(path: Path, articles: Sequence[Any]) -> Iterator[FileRow]:
    for number, article in enumerate(articles, 1):
        try:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    yield FileRow({**qa, "answers": qa.get("answers", [])}, f"{path}: question '{qa.get('id', '')}'")
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: article {number} is not SQuAD ({error!r}); it needs paragraphs with qas"
            ) from None


def _table(path: Path) -> Iterator[FileRow]:
    tab = path.name.lower().removesuffix(".gz").endswith(".tsv")
    rows = rows_of_cells((line for _, line in _lines(path)), tabs=tab, longest=LONGEST_CELL)
    try:
        header = next(rows, Cells(1, []))
        columns = Columns(header)
        for row in rows:
            values = columns.row(row)
            if values is None:
                names = ", ".join(columns.names)
                raise DataError(
                    f"{path}:{row.line} has {len(row.cells)} columns, the header has {len(columns.names)} ({names})"
                )
            yield FileRow(dict(values), str(path), row.line)
    except CellError as error:
        raise DataError(f"{path}:{error.line} {error}") from None


def _parquet(path: Path) -> Iterator[FileRow]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(pa.BufferReader(_bytes(path)))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable parquet file: {str(error).splitlines()[0]}") from None
    classes = classes_of_metadata(table.schema.metadata)
    for number, values in enumerate(table.to_pylist(), 1):
        place = f"{path}: row {number}"
        try:
            named_ones = {name: named(values[name], names) for name, names in classes.items() if name in values}
        except RowError as error:
            raise DataError(f"{place} {error}") from None
        yield FileRow({**values, **named_ones}, place)
