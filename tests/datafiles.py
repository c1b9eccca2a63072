"""Contents of small data files, and what reading them gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyheads.data.build import build_table
from manyheads.data.column_guess import Mapped
from manyheads.data.formats.rows import RawRow, sound
from manyheads.data.readers import Files, open_files
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import Task

NER, TEXT, QA, PAIRS = "token-classification", "text-classification", "question-answering", "sentence-embedding"


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def labelled(count: int, labels: str = "AB") -> str:
    """Rows of texts with labels in turn."""
    return jsonl(*({"text": f"text {i}", "label": labels[i % len(labels)]} for i in range(count)))


def read_rows(path: Path, task: type[Task[Any]], form: str | None = None) -> Iterator[RawRow]:
    return open_files(Files((path,), form), task).rows()


def rows_of(path: Path, kind: str) -> list[RawRow]:
    return list(sound(read_rows(path, TASK_TYPES[kind])))


def refusal_of(path: Path, kind: str) -> str:
    """The whole message, because the message is what the user works with."""
    with pytest.raises(DataError) as caught:
        rows_of(path, kind)
    return str(caught.value)


def errors_of(path: Path, kind: str, columns: Mapped | None = None, form: str | None = None) -> list[str]:
    """All mistakes of a file that `validate` and `train` list."""
    with pytest.raises(DataError) as caught:
        build_table(TASK_TYPES[kind](name="t"), Files((path,), form, columns=columns or {}), "train")
    return str(caught.value).split("\n")
