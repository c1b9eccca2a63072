"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.lines import lines
from manyheads.data.formats.rows import RawRow, kind_of_json, normalised
from manyheads.errors import DataError

MOST_KEYS = 1000
MOST_KEY_CHARACTERS = 20_000
MOST_DIGITS = 40


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


_DECODER = json.JSONDecoder(parse_int=_integer)


def read(path: Path, kind: str) -> Iterator[RawRow]:
    """Rows. Raises DataError for a line that holds no JSON object."""
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            values = _DECODER.decode(line.rstrip("\r\n"))
        except json.JSONDecodeError as error:
            array = "; the file looks like one JSON array" if number == 1 and line.lstrip()[0] == "[" else ""
            raise DataError(
                f"{path}:{number} is not valid JSON: {error.msg} at column {error.colno}{array}; "
                "write one JSON object on each line"
            ) from None
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in a list in a list ...
            raise DataError(f"{path}:{number} is not JSON that can be read: {error}") from None
        if not isinstance(values, dict):
            raise DataError(
                f"{path}:{number} holds {kind_of_json(values)}, not a JSON object; "
                "write one {...} with its keys on each line"
            )
        if len(values) > MOST_KEYS or sum(map(len, values)) > MOST_KEY_CHARACTERS:
            raise DataError(f"{path}:{number} has {len(values):,} keys of {sum(map(len, values)):,} characters; a row has a "
                            "few: leave the others out")  # fmt: skip
        yield RawRow(normalised(values, kind), f"{path}:{number}")
