"""Phrases that the error messages of all formats share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from manyheads.text import values

LEAST = 0.6
"""Similarity from which a name is proposed. At 0.5, columns are near unrelated ones, such as `context` and `index`."""


def json_type(value: Any) -> str:
    """The type of a JSON value with its article: `an object`, `a number`."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "column"), counted(2000, "column")
    ('1 column', '2,000 columns')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The hint of `text/values.py`, to be followed by more text.

    >>> did_you_mean("docano", ["doccano", "prodigy"])
    "did you mean 'doccano'? "
    """
    hint = values.did_you_mean(name, known, LEAST)
    return f"{hint.removeprefix('; ')} " if hint else ""


def first_line(error: BaseException) -> str:
    """The first line of another library's error message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
