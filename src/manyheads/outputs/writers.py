"""Answers as files of the type that the file name says, written row by row.

jsonl and json hold output rows unchanged. Tables have a column for each key: in Parquet with Arrow's nested types; in csv and
tsv `TASK.KEY` for answers that are objects, with lists and mappings as JSON in their cell. tsv has no quoting, as in reading:
tabs and line ends in texts become spaces, with a message.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from manyheads.errors import UsageError
from manyheads.outputs.cells import cell_line
from manyheads.outputs.formats.registry import ROWS, endings
from manyheads.outputs.passthrough import as_json_columns, as_json_row

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

Write = Callable[[Mapping[str, Any], Mapping[str, Any]], None]
"""Takes an output row, and the kept columns of its input row."""
Types = Mapping[str, Any]
"""Arrow types of the kept columns."""
GROUP_ROWS = 2048
"""Rows of a row group in Parquet, which are held in memory as Python objects."""
TABLES = frozenset({".csv", ".tsv", ".parquet"})
"""Endings of files whose columns must be known before the first row."""
ENDINGS = (".jsonl", ".ndjson", ".json", *sorted(TABLES))


def ending_of(path: Path, to: str | None = None) -> str:
    """The ending of a format of rows, or that of a file name without `.gz`: `.jsonl` if it has none.

    Raises UsageError for an unknown ending.
    """
    if to is not None:
        return ROWS[to]
    name = path.name.lower()
    packed = name.endswith(".gz")
    ending = Path(name.removesuffix(".gz")).suffix
    if packed and ending in ENDINGS and ending != ".parquet":
        return ending
    if packed or ending not in ("", *ENDINGS):
        raise UsageError(f"-o {path}: answers are written as {', '.join([*ENDINGS, *endings(rows=False)])}, not as "
                         f"'{path.suffix}'; use one of these endings, or name the format with --to")  # fmt: skip
    return ending or ".jsonl"


@contextmanager
def writer(
    path: Path,
    file: IO[bytes],
    tasks: Sequence[Task[Any]],
    kept: Types,
    say: Callable[[str], None],
    *,
    to: str | None = None,
) -> Iterator[Write]:
    """A function that writes output rows to an open file, in a format of rows or that of the file name. Raises UsageError."""
    ending = ending_of(path, to)
    with ExitStack() as held:
        if path.name.lower().endswith(".gz"):
            packed = gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0)
            file = cast("IO[bytes]", held.enter_context(packed))
        if ending == ".parquet":
            yield held.enter_context(_parquet(file, tasks, kept))
        elif ending in TABLES:
            yield held.enter_context(_cells(file, tasks, kept, say, tabs=ending == ".tsv"))
        elif ending == ".json":
            yield held.enter_context(_array(file))
        else:
            yield lambda answer, kept: _line(file, answer, kept)


def json_line(answer: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """An output row as a line of jsonl."""
    return json.dumps(as_json_row(answer, kept), ensure_ascii=False) + "\n"


def _line(file: IO[bytes], answer: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    file.write(json_line(answer, kept).encode("utf-8"))


@contextmanager
def _array(file: IO[bytes]) -> Iterator[Write]:
    before = b"[\n"

    def write(answer: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        nonlocal before
        file.write(before + json_line(answer, kept).rstrip("\n").encode("utf-8"))
        before = b",\n"

    yield write
    file.write(b"[]\n" if before == b"[\n" else b"\n]\n")


@contextmanager
def _parquet(file: IO[bytes], tasks: Sequence[Task[Any]], kept: Types) -> Iterator[Write]:
    import pyarrow.parquet as pq

    from manyheads.outputs.columns import ERROR, schema_of, table_of, values_of

    schema = schema_of(tasks, kept, before={}, after=ERROR)
    waiting: list[Mapping[str, Any]] = []
    with pq.ParquetWriter(file, schema, compression="zstd") as table:

        def write(answer: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
            waiting.append(values_of(answer, kept))
            if len(waiting) == GROUP_ROWS:
                table.write_table(table_of(schema, waiting))
                waiting.clear()

        yield write
        table.write_table(table_of(schema, waiting))


@contextmanager
def _cells(
    file: IO[bytes], tasks: Sequence[Task[Any]], kept: Types, say: Callable[[str], None], *, tabs: bool
) -> Iterator[Write]:
    from manyheads.outputs.columns import ERROR, schema_of, values_of

    schema_of(tasks, kept, before={}, after=ERROR)  # checks for duplicate names
    objects = {
        key: tuple(kind) for task in tasks for key, kind in task.answer_types.items() if isinstance(kind, Mapping)
    }
    answers = [key for task in tasks for key in task.answer_types]
    columns = ["id", *kept, "windows"]
    for key in answers:
        columns += [f"{key}.{inner}" for inner in objects[key]] if key in objects else [key]
    columns.append("error")
    spaced = 0

    def put(cells: Sequence[str]) -> int:
        content, changed = cell_line(cells, tabs=tabs)
        file.write(content)
        return changed

    def write(answer: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        nonlocal spaced
        values = values_of(answer, as_json_columns(kept))
        for key, inner in objects.items():
            values |= {f"{key}.{name}": value for name, value in (values.get(key) or {}).items() if name in inner}
        spaced += put([_text(values.get(column)) for column in columns])

    put(columns)
    yield write
    if spaced:
        say(f"{spaced:,} cells had tabs or line ends, which tsv cannot hold: replaced by spaces; csv keeps them")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
