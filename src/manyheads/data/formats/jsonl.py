"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.lines import lines
from manyheads.data.formats.rows import RawRow, kind_of_json, normalised
from manyheads.errors import DataError


def read(path: Path, kind: str) -> Iterator[RawRow]:
    """Rows. Raises DataError for a line that holds no JSON object."""
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            values = json.loads(line.rstrip("\r\n"))
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
        yield RawRow(normalised(values, kind), f"{path}:{number}")
