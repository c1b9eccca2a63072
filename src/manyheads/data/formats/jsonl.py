"""JSON lines: one object per line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from manyheads.data.formats.columns import object_rows
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.lines import lines
from manyheads.data.formats.messages import json_type
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError

T = TypeVar("T")
MOST_KEYS = 1000
MOST_KEY_CHARACTERS = 20_000
MOST_DIGITS = 40


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


DECODER = json.JSONDecoder(parse_int=_integer)


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows; a line that is not a JSON object has an error.

    Raises DataError for missing columns, and for a file whose first two lines are no JSON objects: it is of another format.
    """
    return object_rows(schema, str(path), lambda: in_lines(path, as_row))


def in_lines(path: Path, read: Callable[[Any, str], T]) -> Iterator[tuple[T | DataError, str]]:
    """What `read` makes of the JSON value and the place of each line that is not blank, with the place; or its error.

    Raises DataError if neither of the first two can be read.
    """
    found = _lines_or_errors(path, read)
    beginning = list(islice(found, 2))
    errors = [one for one, _ in beginning if isinstance(one, DataError)]
    if len(errors) > 1:
        raise errors[0]
    yield from chain(beginning, found)


def _lines_or_errors(path: Path, read: Callable[[Any, str], T]) -> Iterator[tuple[T | DataError, str]]:
    for number, line in lines(path):
        where = f"{path}:{number}"
        try:
            if line.strip():
                yield read(_decoded(line, number, where), where), where
        except DataError as error:
            yield error, where


def numbered(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and JSON value of each line that is not blank. Raises DataError for a line without a value."""
    for number, line in lines(path):
        if line.strip():
            yield number, _decoded(line, number, f"{path}:{number}")


def _decoded(line: str, number: int, where: str) -> Any:
    try:
        return DECODER.decode(line.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        array = number == 1 and line.lstrip()[0] == "["
        hint = "the file looks like one JSON array: name it .json, or " if array else ""
        raise DataError(
            f"{where} is not valid JSON: {error.msg} at column {error.colno}; {hint}write one JSON object on each line"
        ) from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in a list in a list ...
        raise DataError(f"{where} is not valid JSON: {error}") from None


def found_or_error(value: Any, where: str, read: Callable[[Any, str], T]) -> tuple[T | DataError, str]:
    """What `read` makes of a JSON value and its place, or the DataError that it raises, with the place."""
    try:
        return read(value, where), where
    except DataError as error:
        return error, where


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
