"""Rows of data: mappings with the JSON keys of the data formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.errors import RowError
from manyheads.text.joining import joined
from manyheads.text.sentences import joined_sentences

Row = Mapping[str, Any]

NESTED_COLUMNS = frozenset({"tokens", "tags", "entities", "answers", "sentences"})
"""Columns whose values are lists, which a table with cells cannot hold."""


def text_of(row: Row) -> str:
    """The text of a row: `text`, or its `tokens` or `sentences` joined as they are written. Raises RowError if there is none.

    >>> text_of({"tokens": ["It", "works", "."]})
    'It works.'
    """
    if "text" not in row and "tokens" in row:
        return joined(row["tokens"], row.get("space_after"))[0]
    if "text" not in row and isinstance(row.get("sentences"), list | tuple) and all(map(_is_text, row["sentences"])):
        return joined_sentences(row["sentences"])[0]
    if "text" not in row:
        raise RowError(f"has no 'text'; its keys are {', '.join(map(str, row)) or 'none'}")
    text = row["text"]
    if text is None:
        raise RowError("'text' is null; give a string")
    if not isinstance(text, str):
        raise RowError(f"'text' must be a string, seen {type(text).__name__}")
    return text


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
