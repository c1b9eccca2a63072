"""JSON lines: one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manyheads.data.formats.columns import object_rows
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.lines import lines
from manyheads.data.formats.messages import json_type
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError

MOST_KEYS = 1000
MOST_KEY_CHARACTERS = 20_000
MOST_DIGITS = 40


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


DECODER = json.JSONDecoder(parse_int=_integer)


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows. Raises DataError for a line that is not a JSON object, and missing columns."""

    def objects() -> Iterator[tuple[dict[str, Any], str]]:
        for number, values in numbered(path):
            yield as_row(values, f"{path}:{number}"), f"{path}:{number}"

    return object_rows(schema, str(path), objects)


def numbered(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and JSON value of each line that is not blank. Raises DataError for a line without a value."""
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
            raise DataError(f"{path}:{number} is not valid JSON: {error}") from None


def as_row(value: Any, where: str) -> dict[str, Any]:
    """The JSON value if it is an object of a reasonable size; else raises DataError."""
    if not isinstance(value, dict):
        raise DataError(
            f"{where} holds {json_type(value)}, not a JSON object; write one {{...}} with its keys on each line"
        )
    if len(value) > MOST_KEYS or sum(map(len, value)) > MOST_KEY_CHARACTERS:
        raise DataError(f"{where} has {len(value):,} keys of {sum(map(len, value)):,} characters, too many for a row; "
                        "leave out those that are not needed")  # fmt: skip
    return value
