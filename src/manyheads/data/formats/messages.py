"""Phrases that the error messages of all formats share."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


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
    """A hint with the known name nearest to an unknown one, to be followed by more text; empty if none is near.

    >>> did_you_mean("docano", ["doccano", "prodigy"])
    "did you mean 'doccano'? "
    """
    near = get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]!r}? " if near else ""


def first_line(error: BaseException) -> str:
    """The first line of another library's error message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
