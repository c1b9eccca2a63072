"""Untrusted JSON. Values that could not be written as JSON again are refused, with our own error messages."""

from __future__ import annotations

import json
import math
from typing import Any


def read_json(data: bytes, most_levels: int) -> Any:
    """A JSON value nested at most `most_levels` deep.

    Raises ValueError with a message to follow the name of the input: `is not UTF-8 (byte 3)`.

    >>> read_json(b'{"a": NaN}', 50)
    Traceback (most recent call last):
    ...
    ValueError: is not valid JSON: NaN is not a number
    """
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_refused, parse_float=_finite, parse_int=_whole)
        deep = data.count(b"[") + data.count(b"{") > most_levels and is_deeper(value, most_levels)
    except RecursionError:
        deep = True
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start + 1})") from None
    except ValueError as error:
        raise ValueError(f"is not valid JSON: {error}") from None
    if deep:
        raise ValueError(f"has lists or objects nested in more than {most_levels} levels; leave the inner ones out")
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested deeper than this."""
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(inner, dict | list) for inner in level)


def _refused(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python's limit, 4,300 by default, which applies to writing as well
        raise ValueError(f"a number has {len(text.lstrip('-')):,} digits, too many; send it as a string") from None
