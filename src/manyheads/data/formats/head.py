"""The beginning of a file, from which its format is told.

Decided here: of JSON only its shape is looked at: which keys lie where, and the first few values of each. That can be told
of a beginning that breaks off anywhere, so no file has to be read twice, and a file of one line is no exception.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from manyheads.data.formats.lines import bare_name, byte_stream

HEAD_BYTES = 1 << 18
"""A document of 250,000 characters before the first label is rare; `format:` is there for it."""
MOST_PATHS = 2000
MOST_LEVELS = 12
MOST_VALUES = 8
LONGEST_VALUE = 60

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


@dataclass(frozen=True)
class Head:
    """What is known of a file before it is read."""

    path: Path
    text: str = ""
    """Of HEAD_BYTES at most; bytes that are not UTF-8 are replaced. Empty for a folder."""
    entries: tuple[str, ...] = ()
    """Names in a folder."""

    @staticmethod
    def of(path: Path) -> Head:
        """The head of a file or a folder. Raises DataError for a file that is not there or cannot be read."""
        if path.is_dir():
            return Head(path, "", tuple(sorted(entry.name for entry in path.iterdir())))
        with byte_stream(path) as stream:
            found = stream.read(HEAD_BYTES)
        return Head(path, found.decode("utf-8", "replace").removeprefix("\ufeff"))

    @property
    def name(self) -> str:
        """In lower case, without `.gz`."""
        return bare_name(self.path)

    @cached_property
    def json(self) -> Shape:
        """The shape of the JSON values; an empty one for other files."""
        return shape_of(self.text) if self.text.lstrip()[:1] in ("{", "[") else Shape()


@dataclass(frozen=True)
class Shape:
    """Keys and values of JSON rows, all of them together."""

    array: bool = False
    """Whether the rows are the items of one array; else they are values, one after the other."""
    paths: dict[str, list[Any]] = field(default_factory=dict)
    """`data.text`, `label[][]`: the first few values there, without those that are objects or lists."""

    def has(self, *paths: str) -> bool:
        """Whether there is something at each of these."""
        return all(path in self.paths for path in paths)

    def under(self, path: str) -> bool:
        """Whether something lies below."""
        return any(found.startswith((f"{path}.", f"{path}[]")) for found in self.paths)

    def values(self, path: str) -> list[Any]:
        """The first few values there."""
        return self.paths.get(path, [])

    def holds(self, path: str, *kinds: type) -> bool:
        """Whether there are values there, all of one of these types."""
        values = self.values(path)
        return bool(values) and all(type(value) in kinds for value in values)


def shape_of(text: str) -> Shape:
    """The shape of a text of JSON values, as far as it goes."""
    paths: dict[str, list[Any]] = {}
    array = text.lstrip()[:1] == "["
    for found, value in _walk(text):
        path = found.removeprefix("[]").removeprefix(".") if array else found
        if path in paths or len(paths) < MOST_PATHS:
            values = paths.setdefault(path, [])
            if value is not _NOTHING and len(values) < MOST_VALUES:
                values.append(value)
    return Shape(array, paths)


_NOTHING = object()


def _walk(text: str) -> Iterator[tuple[str, Any]]:
    """Path and value of every key and leaf."""
    above: list[tuple[str, bool]] = []  # path and whether it is an object, of what is open
    path, key_next = "", False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == '"':
            return  # a string that is cut off
        if token in "[{":
            yield path, _NOTHING
            above.append((path, token == "{"))
            if len(above) > MOST_LEVELS:
                return
            key_next = token == "{"
            path = path if key_next else f"{path}[]"
        elif token in "]}":
            if not above:
                return
            path, _ = above.pop()
            key_next = False
        elif token == ",":
            parent, key_next = above[-1] if above else ("", False)
            path = parent if key_next else f"{parent}[]" if above else ""
        elif token == ":":
            key_next = False
        elif key_next and token[0] == '"':
            parent = above[-1][0]
            path = f"{parent}.{token[1:-1][:LONGEST_VALUE]}" if parent else token[1:-1][:LONGEST_VALUE]
        else:
            yield path, _value(token)


def _value(token: str) -> Any:
    if token[0] == '"':
        return token[1:-1][:LONGEST_VALUE]
    try:
        return json.loads(token[:40])
    except ValueError:
        return _NOTHING
