"""Lists and objects in a cell of a table, in the notation of JSON or of Python, as `DataFrame.to_csv` writes them.

Python's is read by `ast.literal_eval`, which runs nothing. What it would misread is refused: strings without a comma between
them are one string to Python, but numpy prints arrays that way.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from contextlib import suppress
from itertools import pairwise
from typing import Any

from manyheads.data.formats.jsonl import DECODER
from manyheads.errors import DataError

OPENING = ("[", "{", "(")
LONGEST_PYTHON = 1 << 18
"""Characters: a parsed list takes up to 150 times as much memory."""
MAY_JOIN = re.compile(r"""['"][\s\\]*[a-zA-Z]{0,2}['"]|#""")
"""Found wherever two strings have no comma between them, and seldom elsewhere: tokenizing takes longer than parsing."""


def literal(cell: str, where: str, name: str) -> Any:
    """The list or object in a cell of the column `name`, with lists for tuples. Raises DataError for anything else.

    >>> literal("[(0, 5, 'ORG')]", "a.csv:2", "entities"), literal('["It", "rains"]', "a.csv:2", "tokens")
    ([[0, 5, 'ORG']], ['It', 'rains'])
    """
    text, found = cell.strip(), None
    if text[:1] in OPENING:
        try:
            found = DECODER.decode(text)
        except (ValueError, RecursionError):
            found = _python(text, where, name)
    if not isinstance(found, list | dict):
        raise DataError(f"{where} has {text[:80]!r} in the column '{name}', which holds lists in the notation of JSON or of "
                        "Python; write [] for an empty one, or write JSON lines")  # fmt: skip
    return found


def guessed(cell: Any) -> Any:
    """The list or object in a cell; the cell itself if there is none."""
    with suppress(DataError):
        return literal(cell, "", "") if isinstance(cell, str) and cell[:1] in OPENING else cell
    return cell


def _python(text: str, where: str, name: str) -> Any:
    """The value in Python's notation; None if there is none."""
    if len(text) > LONGEST_PYTHON:
        raise DataError(f"{where} has {len(text):,} characters in the column '{name}', in the notation of Python; write JSON")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings
            found = ast.literal_eval(text)
        tokens = tokenize.generate_tokens(io.StringIO(text).readline) if MAY_JOIN.search(text) else ()
        kinds = [one.type for one in tokens if one.type not in (tokenize.NL, tokenize.COMMENT)]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError):
        return None
    if (tokenize.STRING, tokenize.STRING) in pairwise(kinds):
        raise DataError(f"{where} has strings without commas between them in the column '{name}', as numpy prints arrays; "
                        f"write lists: df['{name}'].map(list)")  # fmt: skip
    return _plain(found)


def _plain(value: Any) -> Any:
    """Lists for tuples."""
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    return {key: _plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value
