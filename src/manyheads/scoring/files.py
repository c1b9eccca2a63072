"""Files of gold data and of any system's answers to rows, through the readers of training data.

Less is required than in training: rows may have any columns, CoNLL columns need no layout beyond word and tag, and a
JSON file may hold `{id: answer}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyheads.data.formats import csv, jsonl, parquet, squad
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.lines import bare_name, lines
from manyheads.data.formats.rows import sound
from manyheads.errors import DataError, RowError
from manyheads.tasks.base import Task
from manyheads.tasks.file_rows import FileRow
from manyheads.tasks.rows import NESTED_COLUMNS
from manyheads.text.columns import Layout, bare_line, cells_of, is_comment, is_skipped, layout_of

ANY_COLUMNS = RowSchema("score")


def read(path: Path, cls: type[Task[Any]]) -> list[FileRow]:
    """All rows of a file. The format follows from its name and the columns of the type. Raises DataError."""
    suffix = Path(bare_name(path)).suffix
    formats: dict[str, Callable[[Path], Iterator[FileRow]]] = {
        ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json_lines, ".parquet": _parquet
    }  # fmt: skip
    if any("answers" in columns for columns in cls.columns):
        formats[".json"] = _squad
    if not cls.columns or any(NESTED_COLUMNS.isdisjoint(columns) for columns in cls.columns):
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


def gold_before(row: FileRow) -> FileRow:
    """The row with the tags of the column before the last, as gold."""
    if not row.values["before"]:
        raise DataError(f"{row.where()} has 2 columns; a file that is both GOLD and PREDICTIONS needs three: the word, "
                        "the gold tag, and last the predicted tag")  # fmt: skip
    return replace(row, values={**row.values, "tags": row.values["before"]})


def _conll(path: Path) -> Iterator[FileRow]:
    """Sentences of columns; `before` is the column before the last, empty if that is the word."""
    try:
        layout = layout_of(line for _, line in lines(path)) or Layout(False, 1)
    except RowError as error:
        raise DataError(f"{path} {error}") from None
    first = 0
    cells: list[list[str]] = []
    for number, line in [*lines(path), (0, "")]:
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
            known = f"the lines before it have {layout.width}; fix the line"
            known = known if layout.width > 1 else "a word and its tag are needed"
            raise DataError(f"{path}:{number} has {len(parts)} column{'s' * (len(parts) != 1)}, {known}")
        if layout.counter and is_skipped(parts[0]):
            continue
        first = number if not cells else first
        cells.append(parts)


def _json_lines(path: Path) -> Iterator[FileRow]:
    for number, values in jsonl.numbered(path):
        yield FileRow(jsonl.as_row(values, f"{path}:{number}"), str(path), number)


def _table(path: Path) -> Iterator[FileRow]:
    for row in sound(csv.read(path, ANY_COLUMNS)):
        yield FileRow(row.values, str(path), int(row.where.rpartition(":")[2]))


def _parquet(path: Path) -> Iterator[FileRow]:
    for row in parquet.read(path, ANY_COLUMNS):
        yield FileRow(row.values, row.where, missing=row.skip and f"has {row.skip}")


def _squad(path: Path) -> Iterator[FileRow]:
    """Questions of SQuAD, answers `{id: answer}`, a list of rows; or JSON lines."""
    if _is_json_lines(path):
        yield from _json_lines(path)
        return
    whole = squad.whole_json(path)
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


def _is_json_lines(path: Path) -> bool:
    """Whether the first line is a whole JSON value, and others follow."""
    given = (line for _, line in lines(path, squad.MOST_BYTES) if line.strip())
    first, more = next(given, ""), next(given, None)
    try:
        return more is not None and json.loads(first) is not None
    except (ValueError, RecursionError):
        return False


def _questions(path: Path, articles: Sequence[Any]) -> Iterator[FileRow]:
    for number, article in enumerate(articles, 1):
        try:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    yield FileRow({**qa, "answers": qa.get("answers", [])}, f"{path}: question '{qa.get('id', '')}'")
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: article {number} is not SQuAD ({error!r}); it needs paragraphs with qas") from None
