"""Contents of small data files, and what reading them gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manyheads.data.formats.rows import RawRow
from manyheads.data.readers import read_rows
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES

NER, TEXT, QA, PAIRS = "token-classification", "text-classification", "question-answering", "sentence-embedding"


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def labelled(count: int, labels: str = "AB") -> str:
    """Rows of texts with labels in turn."""
    return jsonl(*({"text": f"text {i}", "label": labels[i % len(labels)]} for i in range(count)))


def rows_of(path: Path, kind: str) -> list[RawRow]:
    return list(read_rows(path, TASK_TYPES[kind]))


def refusal_of(path: Path, kind: str) -> str:
    """The whole message, because the message is what the user works with."""
    with pytest.raises(DataError) as caught:
        rows_of(path, kind)
    return str(caught.value)
