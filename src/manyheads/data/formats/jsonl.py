"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import Wanted
from manyheads.data.formats.lines import lines
from manyheads.data.formats.rows import RawRow, kind_of_json
from manyheads.errors import DataError

MOST_KEYS = 1000
MOST_KEY_CHARACTERS = 20_000
MOST_DIGITS = 40


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


DECODER = json.JSONDecoder(parse_int=_integer)


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Rows. Raises DataError for a line that holds no JSON object."""
    for number, values in numbered(path):
        yield RawRow(wanted.normalised(as_row(values, f"{path}:{number}")), f"{path}:{number}")


def numbered(path: Path) -> Iterator[tuple[int, Any]]:
    """The JSON value of each line that is not blank, with its number. Raises DataError for a line without one."""
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            yield number, DECODER.decode(line.rstrip("\r\n"))
        except json.JSONDecodeError as error:
            array = number == 1 and line.lstrip()[0] == "["
            hint = "the file looks like one JSON array: name it .json, or " if array else ""
            raise DataError(
                f"{path}:{number} is not valid JSON: {error.msg} at column {error.colno}; "
                f"{hint}write one JSON object on each line"
            ) from None
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in a list in a list ...
            raise DataError(f"{path}:{number} is not JSON that can be read: {error}") from None


def as_row(value: Any, where: str) -> dict[str, Any]:
    """A JSON value that must be the object of a row. Raises DataError."""
    if not isinstance(value, dict):
        raise DataError(
            f"{where} holds {kind_of_json(value)}, not a JSON object; write one {{...}} with its keys on each line"
        )
    if len(value) > MOST_KEYS or sum(map(len, value)) > MOST_KEY_CHARACTERS:
        raise DataError(f"{where} has {len(value):,} keys of {sum(map(len, value)):,} characters; a row has a few: "
                        "leave the others out")  # fmt: skip
    return value
